-- Writes a session's next generation, if the session still lives and nobody else was first.
-- KEYS[1] session
-- ARGV[1] now, Unix ms
-- ARGV[2] expected generation
-- ARGV[3] record: header and body of the next generation
-- RESULT 'replaced'
-- RESULT 'conflict'
-- RESULT 'gone'
local current = redis.call('GETRANGE', KEYS[1], 0, 32)
-- The first 17 bytes: format version and whose it is.
if #current < 33 or string.sub(current, 1, 17) ~= string.sub(ARGV[3], 1, 17) then
  return { KEYS[1], 'gone' }
end
-- A 6-byte integer as 2 + 4: some builds unpack into 32 bits.
local generation, idleHigh, idleLow, absoluteHigh, absoluteLow = struct.unpack('>I4I2I4I2I4', current, 18)
local idle = idleHigh * 4294967296 + idleLow
local absolute = absoluteHigh * 4294967296 + absoluteLow
if tonumber(ARGV[1]) >= math.min(idle, absolute) then
  return { KEYS[1], 'gone' }
end
if generation ~= tonumber(ARGV[2]) then
  return { KEYS[1], 'conflict' }
end
local record = ARGV[3]
local nextIdleHigh, nextIdleLow, nextAbsoluteHigh, nextAbsoluteLow = struct.unpack('>I2I4I2I4', record, 22)
local nextIdle = nextIdleHigh * 4294967296 + nextIdleLow
local nextAbsolute = nextAbsoluteHigh * 4294967296 + nextAbsoluteLow
if idle > nextIdle then
  nextIdle = idle
  record = string.sub(record, 1, 21) .. string.sub(current, 22, 27) .. string.sub(record, 28)
end
redis.call('SET', KEYS[1], record, 'PXAT', string.format('%.0f', math.min(nextIdle, nextAbsolute)))
return { KEYS[1], 'replaced' }
