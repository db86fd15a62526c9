-- Removes a member from an index. The index lives as long as its last member.
-- KEYS[1] index: sorted set of members by the Unix ms at which they end
-- ARGV[1] member
-- ARGV[2] end that the member must have, Unix ms; empty for any
-- RESULT 'removed'
-- RESULT 'kept'
if ARGV[2] ~= '' and tonumber(redis.call('ZSCORE', KEYS[1], ARGV[1]) or 0) ~= tonumber(ARGV[2]) then
  return { KEYS[1], 'kept' }
end
redis.call('ZREM', KEYS[1], ARGV[1])
local last = redis.call('ZRANGE', KEYS[1], -1, -1, 'WITHSCORES')
if last[2] then
  redis.call('PEXPIREAT', KEYS[1], last[2])
end
return { KEYS[1], 'removed' }
