-- Moves a session's idle deadline, never past the absolute deadline, if that gains enough.
-- KEYS[1] session
-- ARGV[1] now, Unix ms
-- ARGV[2] prefix: the 17 bytes that a record of this session begins with
-- ARGV[3] idle deadline wanted, Unix ms
-- ARGV[4] minimum gain, ms
-- RESULT 'extended' and the new idle deadline
-- RESULT 'fresh' and the idle deadline
-- RESULT 'gone'
local header = redis.call('GETRANGE', KEYS[1], 0, 32)
if #header < 33 or string.sub(header, 1, 17) ~= ARGV[2] then
  return { KEYS[1], 'gone' }
end
-- A 6-byte integer as 2 + 4: some builds unpack into 32 bits.
local idleHigh, idleLow, absoluteHigh, absoluteLow = struct.unpack('>I2I4I2I4', header, 22)
local idle = idleHigh * 4294967296 + idleLow
local absolute = absoluteHigh * 4294967296 + absoluteLow
if tonumber(ARGV[1]) >= math.min(idle, absolute) then
  return { KEYS[1], 'gone' }
end
local wanted = math.min(tonumber(ARGV[3]), absolute)
if wanted - idle < math.max(tonumber(ARGV[4]), 1) then
  return { KEYS[1], 'fresh', idle }
end
local high = math.floor(wanted / 4294967296)
redis.call('SETRANGE', KEYS[1], 21, struct.pack('>I2I4', high, wanted - high * 4294967296))
redis.call('PEXPIREAT', KEYS[1], string.format('%.0f', wanted))
return { KEYS[1], 'extended', wanted }
