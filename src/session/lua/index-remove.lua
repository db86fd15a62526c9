-- Removes a member from an index. The index lives as long as its last member.
-- KEYS[1] index: sorted set of members by the Unix ms at which they end
-- ARGV[1] member
-- RESULT 'removed'
redis.call('ZREM', KEYS[1], ARGV[1])
local last = redis.call('ZRANGE', KEYS[1], -1, -1, 'WITHSCORES')
if last[2] then
  redis.call('PEXPIREAT', KEYS[1], last[2])
end
return { KEYS[1], 'removed' }
