-- Posts one body, with one token or with many in turn. Prints what came of it as JSON after the word LOAD.
-- LOAD_BODY: file of the body. LOAD_TOKENS: file of tokens, one a line. LOAD_FIRST: which is sent first, from 0.

local function content(variable)
  local file = assert(io.open(os.getenv(variable), "rb"))
  local text = file:read("*a")
  file:close()
  return text
end

wrk.method = "POST"
wrk.body = content("LOAD_BODY")
wrk.headers["content-type"] = "application/json"

local tokens = {}
for token in content("LOAD_TOKENS"):gmatch("[^\n]+") do
  tokens[#tokens + 1] = token
end
wrk.headers["authorization"] = "Bearer " .. tokens[1]

if #tokens > 1 then
  local requests, at = {}, tonumber(os.getenv("LOAD_FIRST"))
  function init()
    for place, token in ipairs(tokens) do
      wrk.headers["authorization"] = "Bearer " .. token
      requests[place] = wrk.format()
    end
  end
  function request()
    local chosen = requests[at % #requests + 1]
    at = at + 1
    return chosen
  end
end

function done(summary, latency)
  local errors = summary.errors
  print(string.format(
    'LOAD {"requests":%d,"bytes":%d,"seconds":%.6f,"errors":{"connect":%d,"read":%d,"write":%d,"status":%d,"timeout":%d},' ..
      '"p50_ms":%.3f,"p99_ms":%.3f,"p999_ms":%.3f}',
    summary.requests, summary.bytes, summary.duration / 1e6,
    errors.connect, errors.read, errors.write, errors.status, errors.timeout,
    latency:percentile(50) / 1e3, latency:percentile(99) / 1e3, latency:percentile(99.9) / 1e3
  ))
end
