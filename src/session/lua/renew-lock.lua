-- Prolongs a lock for the owner who holds it.
-- KEYS[1] lock
-- ARGV[1] owner
-- ARGV[2] time to live from now, ms
-- RESULT 'renewed'
-- RESULT 'lost'
if redis.call('GET', KEYS[1]) ~= ARGV[1] then
  return { KEYS[1], 'lost' }
end
redis.call('PEXPIRE', KEYS[1], ARGV[2])
return { KEYS[1], 'renewed' }
