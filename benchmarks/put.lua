-- PUT of a 64-byte value to one key after another of a thousand.
local value = "value=" .. string.rep("x", 64)
local headers = { ["Content-Type"] = "application/x-www-form-urlencoded" }
local count = 0

function request()
  count = count + 1
  return wrk.format("PUT", "/v2/keys/bench/k" .. (count % 1000), headers, value)
end
