-- Takes a lock unless another owner holds it. Taking it twice is taking it once, so an unanswered try can be repeated.
-- By the server's clock, so that no other matters.
-- KEYS[1] lock: how many holders are unfinished, whether this one has begun, for how long the key outlives the holding (ms), the owner
-- ARGV[1] owner
-- ARGV[2] time of holding, ms
-- RESULT 'taken' and how many holders before this one had begun and were never heard of again, or were unsure
-- RESULT 'held' and for how long yet, ms
local value = redis.call('GET', KEYS[1]) or ''
local count, begun, memory, owner = string.match(value, '^(%d+) ([01]) (%d+) (.*)$')
local unfinished = tonumber(count or 0)
local remembered = tonumber(memory or 0)
if owner and owner ~= ARGV[1] then
  local left = redis.call('PTTL', KEYS[1])
  if left > remembered then
    return { KEYS[1], 'held', left - remembered }
  end
  unfinished = unfinished + tonumber(begun)
  begun = '0'
  -- What is remembered is so to its first end.
  remembered = unfinished > 0 and left or 0
end
local state = string.format('%.0f %s %.0f ', unfinished, begun or '0', remembered)
redis.call('SET', KEYS[1], state .. ARGV[1], 'PX', string.format('%.0f', tonumber(ARGV[2]) + remembered))
return { KEYS[1], 'taken', unfinished }
