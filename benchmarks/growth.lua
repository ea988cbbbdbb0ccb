-- PUT or GET of one key after another, of as many keys, in as large directories and with as long values as
-- benchmarks/growth.py says in the environment.
local method = os.getenv("GROWTH_METHOD")
local keys = tonumber(os.getenv("GROWTH_KEYS"))
local children = tonumber(os.getenv("GROWTH_CHILDREN"))
local body = method == "PUT" and "value=" .. string.rep("x", tonumber(os.getenv("GROWTH_VALUE"))) or nil
local headers = body and { ["Content-Type"] = "application/x-www-form-urlencoded" } or {}
local count = 0

function request()
  -- A step that no number of keys here has a divisor in common with, so that each key has its turn, far from the last.
  count = (count + 7919) % keys
  return wrk.format(method, "/v2/keys/grow/d" .. math.floor(count / children) .. "/k" .. (count % children), headers, body)
end
