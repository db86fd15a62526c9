-- Releases a lock for the owner who holds it.
-- KEYS[1] lock
-- ARGV[1] owner
-- RESULT 'unlocked'
-- RESULT 'lost'
if redis.call('GET', KEYS[1]) ~= ARGV[1] then
  return { KEYS[1], 'lost' }
end
redis.call('DEL', KEYS[1])
return { KEYS[1], 'unlocked' }
