-- Releases a lock for the owner who took it, unless another has taken it since; who let it run out before is forgotten.
-- KEYS[1] lock: how many holders let it run out, a space, the owner
-- ARGV[1] owner
-- RESULT 'unlocked'
-- RESULT 'lost'
local owner = string.match(redis.call('GET', KEYS[1]) or '', '^%d+ (.*)$')
if owner ~= ARGV[1] then
  return { KEYS[1], 'lost' }
end
redis.call('DEL', KEYS[1])
return { KEYS[1], 'unlocked' }
