-- Tells whether an index was closed.
-- KEYS[1] index: sorted set of members by the Unix ms at which they end
-- ARGV[1] now, Unix ms
-- RESULT 'told' and, if the index was closed, when that will be forgotten
redis.call('ZREMRANGEBYSCORE', KEYS[1], '-inf', ARGV[1])
return { KEYS[1], 'told', redis.call('ZSCORE', KEYS[1], '#epoch') }
