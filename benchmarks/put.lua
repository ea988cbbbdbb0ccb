-- PUT of a 64-byte value to one key after another of a thousand.
local c=0
local id=0
local v = string.rep("x",64)
function setup(thread) id=id+1; thread:set("tid",id) end
function request()
  c=c+1
  return wrk.format("PUT","/v2/keys/bench/k"..(c%1000), {["Content-Type"]="application/x-www-form-urlencoded"}, "value="..v)
end
