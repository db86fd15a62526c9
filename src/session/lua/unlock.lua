-- Releases a lock for the owner who took it, unless another has taken it since, and keeps in mind what is unfinished.
-- KEYS[1] lock: how many holders are unfinished, whether this one has begun, for how long the key outlives the holding (ms), the owner
-- ARGV[1] owner
-- ARGV[2] outcome: settled forgets all who are unfinished, unsent leaves their number, unsure adds this one, if it has begun
-- RESULT 'unlocked'
-- RESULT 'lost'
local value = redis.call('GET', KEYS[1]) or ''
local count, begun, memory, owner = string.match(value, '^(%d+) ([01]) (%d+) (.*)$')
if owner ~= ARGV[1] then
  return { KEYS[1], 'lost' }
end
local unfinished = tonumber(count)
if ARGV[2] == 'unsure' then
  unfinished = unfinished + tonumber(begun)
end
if ARGV[2] == 'settled' or unfinished == 0 then
  redis.call('DEL', KEYS[1])
  return { KEYS[1], 'unlocked' }
end
local left = string.format('%.0f', math.max(1, math.min(tonumber(memory), redis.call('PTTL', KEYS[1]))))
redis.call('SET', KEYS[1], string.format('%.0f 0 ', unfinished) .. left .. ' ', 'PX', left)
return { KEYS[1], 'unlocked' }
