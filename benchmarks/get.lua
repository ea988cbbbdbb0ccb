-- GET of one key after another of the thousand that put.lua writes.
local c=0
function request() c=c+1; return wrk.format("GET","/v2/keys/bench/k"..(c%1000)) end
