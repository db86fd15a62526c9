-- Prolongs a lock for the owner who took it, unless another has taken it since; where told, marks that the owner begins.
-- KEYS[1] lock: how many holders are unfinished, whether this one has begun, for how long the key outlives the holding (ms), the owner
-- ARGV[1] owner
-- ARGV[2] time of holding from now, ms
-- ARGV[3] memory beyond that of one who begins, ms; 0: as it is
-- RESULT 'renewed'
-- RESULT 'lost'
local value = redis.call('GET', KEYS[1]) or ''
local count, _, memory, owner = string.match(value, '^(%d+) ([01]) (%d+) (.*)$')
if owner ~= ARGV[1] then
  return { KEYS[1], 'lost' }
end
local lifetime = tonumber(ARGV[2]) + tonumber(ARGV[3] == '0' and memory or ARGV[3])
if ARGV[3] == '0' then
  redis.call('PEXPIRE', KEYS[1], string.format('%.0f', lifetime))
else
  local state = table.concat({ count, '1', ARGV[3], owner }, ' ')
  redis.call('SET', KEYS[1], state, 'PX', string.format('%.0f', lifetime))
end
return { KEYS[1], 'renewed' }
