-- GET of one key after another of the thousand that put.lua writes; as a user, if benchmarks/users.py gives one.
local user = os.getenv("BENCH_AUTHORIZATION")
local headers = user and { ["Authorization"] = user } or {}
local count = 0

function request()
  count = count + 1
  return wrk.format("GET", "/v2/keys/bench/k" .. (count % 1000), headers)
end
