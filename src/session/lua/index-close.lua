-- Closes an index: whoever was about to add a member learns of it. The members stay.
-- KEYS[1] index: sorted set of members by the Unix ms at which they end
-- ARGV[1] now, Unix ms
-- ARGV[2] lifetime: for how many ms it is remembered, in the member '#epoch'
-- RESULT 'closed' and a flat list: member, end in Unix ms, member, …
redis.call('ZREMRANGEBYSCORE', KEYS[1], '-inf', ARGV[1])
local before = tonumber(redis.call('ZSCORE', KEYS[1], '#epoch') or 0)
local epoch = math.max(tonumber(ARGV[1]) + tonumber(ARGV[2]), before + 1)
redis.call('ZADD', KEYS[1], string.format('%.0f', epoch), '#epoch')
local last = redis.call('ZRANGE', KEYS[1], -1, -1, 'WITHSCORES')
redis.call('PEXPIREAT', KEYS[1], last[2])
return { KEYS[1], 'closed', redis.call('ZRANGE', KEYS[1], 0, -1, 'WITHSCORES') }
