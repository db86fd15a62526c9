-- Adds a member to an index, or moves its end. The index lives as long as its last member.
-- KEYS[1] index: sorted set of members by the Unix ms at which they end
-- ARGV[1] now, Unix ms
-- ARGV[2] end of the member, Unix ms
-- ARGV[3] member
-- RESULT 'added' and, if the index was closed, when that will be forgotten
redis.call('ZADD', KEYS[1], ARGV[2], ARGV[3])
redis.call('ZREMRANGEBYSCORE', KEYS[1], '-inf', ARGV[1])
local last = redis.call('ZRANGE', KEYS[1], -1, -1, 'WITHSCORES')
if last[2] then
  redis.call('PEXPIREAT', KEYS[1], last[2])
end
return { KEYS[1], 'added', redis.call('ZSCORE', KEYS[1], '#epoch') }
