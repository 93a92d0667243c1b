-- The request of every connection: a body from a file, and headers, one per line, from the environment.
local file = assert(io.open(os.getenv("BODY"), "rb"))
wrk.method, wrk.body = "POST", file:read("*a")
file:close()
for line in os.getenv("HEADERS"):gmatch("[^\n]+") do
  local name, value = line:match("^([^:]+):%s*(.*)$")
  wrk.headers[name] = value
end
