-- PUT of a 64-byte value to one key after another of a thousand; as a user, if benchmarks/users.py gives one.
local headers = {
  ["Content-Type"] = "application/x-www-form-urlencoded",
  ["Authorization"] = os.getenv("BENCH_AUTHORIZATION"),
}
local body = "value=" .. string.rep("x", 64)
local count = 0

function request()
  count = count + 1
  return wrk.format("PUT", "/v2/keys/bench/k" .. (count % 1000), headers, body)
end
