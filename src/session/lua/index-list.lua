-- Trims an index and lists what is left, soonest to end first.
-- KEYS[1] index: sorted set of members by the Unix ms at which they end
-- ARGV[1] now, Unix ms
-- RESULT 'listed' and a flat list: member, end in Unix ms, member, …
redis.call('ZREMRANGEBYSCORE', KEYS[1], '-inf', ARGV[1])
return { KEYS[1], 'listed', redis.call('ZRANGE', KEYS[1], 0, -1, 'WITHSCORES') }
