-- Posts one body, with one token or with many in turn. Prints what came of it as JSON after the word LOAD.
-- LOAD_BODY: file of the body. LOAD_TOKENS: file of tokens, one a line. LOAD_FIRST: which is sent first, from 0.
-- LOAD_NEW_AT: offsets in the body, with commas between them, where the words of a number stand (`Body.numbered`).
-- LOAD_WORDS: the digits that there are, as words of one length. LOAD_DIGITS: how many a number has. LOAD_NUMBER: the first number; each request has another.

local function content(variable)
  local file = assert(io.open(os.getenv(variable), "rb"))
  local text = file:read("*a")
  file:close()
  return text
end

local function listed(text, pattern)
  local found = {}
  for entry in text:gmatch(pattern) do
    found[#found + 1] = entry
  end
  return found
end

wrk.method = "POST"
wrk.body = content("LOAD_BODY")
wrk.headers["content-type"] = "application/json"

local tokens = listed(content("LOAD_TOKENS"), "[^\n]+")
wrk.headers["authorization"] = "Bearer " .. tokens[1]

local words = listed(os.getenv("LOAD_WORDS"), "%a+")
local digits = tonumber(os.getenv("LOAD_DIGITS"))
local length = digits * (#words[1] + 1) - 1
local parts, at = {}, 1
for place in os.getenv("LOAD_NEW_AT"):gmatch("%d+") do
  parts[#parts + 1] = wrk.body:sub(at, tonumber(place))
  at = tonumber(place) + length + 1
end
parts[#parts + 1] = wrk.body:sub(at)

local function words_of(number)
  local found = {}
  for place = 1, digits do
    found[place] = words[number % #words + 1]
    number = math.floor(number / #words)
  end
  return table.concat(found, " ")
end

if #tokens > 1 or #parts > 1 then
  local heads, first, number = {}, tonumber(os.getenv("LOAD_FIRST")), tonumber(os.getenv("LOAD_NUMBER"))
  function init()
    for place, token in ipairs(tokens) do
      wrk.headers["authorization"] = "Bearer " .. token
      local whole = wrk.format()
      heads[place] = whole:sub(1, #whole - #wrk.body)
    end
  end
  function request()
    local head = heads[first % #heads + 1]
    first = first + 1
    number = number + 1
    return head .. table.concat(parts, words_of(number - 1))
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
