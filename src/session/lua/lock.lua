-- Takes a lock unless another owner holds it. Taking it twice is taking it once, so an unanswered try can be repeated.
-- KEYS[1] lock
-- ARGV[1] owner
-- ARGV[2] time to live, ms
-- RESULT 'locked'
-- RESULT 'held'
local owner = redis.call('GET', KEYS[1])
if owner and owner ~= ARGV[1] then
  return { KEYS[1], 'held' }
end
redis.call('SET', KEYS[1], ARGV[1], 'PX', ARGV[2])
return { KEYS[1], 'locked' }
