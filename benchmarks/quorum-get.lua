-- Linearizable GET of one key after another of the thousand that put.lua writes.
local count = 0

function request()
  count = count + 1
  return wrk.format("GET", "/v2/keys/bench/k" .. (count % 1000) .. "?quorum=true")
end
