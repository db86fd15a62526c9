-- Takes a lock unless another owner holds it. Taking it twice is taking it once, so an unanswered try can be repeated.
-- The key outlives the holding: who never unlocked is not forgotten at once. By the server's clock, so that no other matters.
-- KEYS[1] lock: how many holders let it run out, a space, the owner
-- ARGV[1] owner
-- ARGV[2] time of holding, ms
-- ARGV[3] memory beyond that, ms
-- RESULT 'taken' and how many holders before this one let it run out, since the last who unlocked
-- RESULT 'held' and for how long yet, ms
local unfinished = 0
local count, owner = string.match(redis.call('GET', KEYS[1]) or '', '^(%d+) (.*)$')
if owner then
  unfinished = tonumber(count)
  if owner ~= ARGV[1] then
    local held = redis.call('PTTL', KEYS[1]) - tonumber(ARGV[3])
    if held > 0 then
      return { KEYS[1], 'held', held }
    end
    unfinished = unfinished + 1
  end
end
local lifetime = string.format('%.0f', tonumber(ARGV[2]) + tonumber(ARGV[3]))
redis.call('SET', KEYS[1], string.format('%.0f ', unfinished) .. ARGV[1], 'PX', lifetime)
return { KEYS[1], 'taken', unfinished }
