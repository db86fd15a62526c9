-- Prolongs a lock for the owner who took it, unless another has taken it since.
-- KEYS[1] lock: how many holders let it run out, a space, the owner
-- ARGV[1] owner
-- ARGV[2] time of holding from now, ms
-- ARGV[3] memory beyond that, ms
-- RESULT 'renewed'
-- RESULT 'lost'
local owner = string.match(redis.call('GET', KEYS[1]) or '', '^%d+ (.*)$')
if owner ~= ARGV[1] then
  return { KEYS[1], 'lost' }
end
redis.call('PEXPIRE', KEYS[1], string.format('%.0f', tonumber(ARGV[2]) + tonumber(ARGV[3])))
return { KEYS[1], 'renewed' }
