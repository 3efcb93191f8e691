package text

import "strings"

// Words returns what can be searched for in the content of a chat message: the content itself when
// it is plain text, and the words within when it is the JSON of a chat application, which is
//
//   - of a user: an object with text, files (name and content), links, and content, an array of
//     blocks that mostly repeats the text and counts once;
//   - of an assistant: an array of blocks, of which the texts, titles, and the name, parameters and
//     response of tool calls (the strings in them, when they are JSON) count.
//
// Keys, ids, times, states, media types, pictures and data: URLs are not words. Malformed JSON and
// JSON of another shape is plain text, so that it can be found by what the user sees. The parts are
// separated by newlines. JSON nested more than 64 levels counts as plain. Of the words in JSON, at
// most MaxInput bytes and one part more are returned.
func Words(content string) string {
	v := content[skipSpace(content, 0):]
	if !isObject(v) && !isArray(v) || !validJSON(v) {
		return stripData(content)
	}
	var c collector
	switch {
	case isObject(v):
		if !c.message(v) {
			return stripData(content)
		}
	case !isBlocks(v):
		return stripData(content)
	default:
		c.blocks(v)
	}
	return c.out.String()
}

// collector gathers words.
type collector struct {
	out  strings.Builder
	text string // of the message, which its blocks repeat
	work int    // bytes of text compared so far
}

// maxWork bounds the time spent on finding repetitions.
const maxWork = 64 << 20

// repeats reports whether the text of the message has s in it.
func (c *collector) repeats(s string) bool {
	if c.text == "" || c.work > maxWork {
		return false
	}
	c.work += len(c.text)
	return strings.Contains(c.text, s)
}

func (c *collector) add(s string) {
	if s == "" || c.full() || opaque(s) {
		return
	}
	if c.out.Len() > 0 {
		c.out.WriteByte('\n')
	}
	c.out.WriteString(stripData(s))
}

func (c *collector) full() bool { return c.out.Len() >= MaxInput }

// addString adds a JSON value if it is a string.
func (c *collector) addString(v string) {
	if isString(v) && !c.full() {
		c.add(unquote(v))
	}
}

// isBlocks reports whether v is an array of blocks: objects with a type, or nothing.
func isBlocks(v string) bool {
	if !isArray(v) {
		return false
	}
	ok := true
	array(v, func(v string) bool {
		ok = isObject(v) && isString(member(v, "type"))
		return ok
	})
	return ok
}

// member returns the value of a member of an object, or "".
func member(v, name string) (val string) {
	object(v, func(k, v string) {
		if k == name {
			val = v
		}
	})
	return val
}

// message adds a user's message, or a single block, and reports whether v is one.
func (c *collector) message(v string) bool {
	m := make(map[string]string)
	object(v, func(k, v string) { m[k] = v })
	switch {
	case isString(m["text"]):
	case m["content"] != "" && isBlocks(m["content"]):
	case isString(m["type"]) && isString(m["content"]):
	default:
		return false
	}
	if isString(m["type"]) {
		c.block(v)
		return true
	}
	if isString(m["text"]) {
		c.text = unquote(m["text"])
		c.add(c.text)
	}
	if isArray(m["files"]) {
		array(m["files"], c.file)
	}
	if isArray(m["links"]) {
		array(m["links"], c.file)
	}
	switch b := m["content"]; {
	case isString(b):
		if s := unquote(b); !c.repeats(s) {
			c.add(s)
		}
	case isArray(b):
		c.blocks(b)
	}
	return true
}

// file adds a file or a link.
func (c *collector) file(v string) bool {
	if !isObject(v) {
		c.addString(v)
		return !c.full()
	}
	object(v, func(k, v string) {
		switch k {
		case "name", "title", "description", "url", "content", "text":
			c.addString(v)
		}
	})
	return !c.full()
}

func (c *collector) blocks(v string) {
	array(v, func(v string) bool {
		if isObject(v) {
			c.block(v)
		}
		return !c.full()
	})
}

// block adds one block of a message.
func (c *collector) block(v string) {
	m := make(map[string]string, 8)
	object(v, func(k, v string) { m[k] = v })
	if isString(m["type"]) && unquote(m["type"]) == "image" {
		return // its content is a file name of the application or the picture
	}
	for _, k := range [...]string{"title", "name", "text", "content"} {
		switch v := m[k]; {
		case isString(v):
			if s := unquote(v); !c.repeats(s) {
				c.add(s)
			}
		case k == "content" && isBlocks(v):
			c.blocks(v)
		}
	}
	if t := m["tool_call"]; isObject(t) {
		c.addString(member(t, "name"))
		c.tool(member(t, "params"))
		c.tool(member(t, "response"))
	}
}

// tool adds the parameters or the response of a tool call: JSON, JSON in a string, or text.
func (c *collector) tool(v string) {
	if c.full() {
		return
	}
	if isString(v) {
		s := unquote(v)
		inner := s[skipSpace(s, 0):]
		if !isObject(inner) && !isArray(inner) && !isString(inner) || !validJSON(inner) {
			c.add(s)
			return
		}
		v = inner
	}
	c.strings(strings.TrimRight(v, " \t\r\n"))
}

// strings adds every string in a JSON value, but for the types.
func (c *collector) strings(v string) {
	switch {
	case c.full():
	case isString(v):
		c.addString(v)
	case isArray(v):
		array(v, func(v string) bool {
			c.strings(v)
			return !c.full()
		})
	case isObject(v):
		object(v, func(k, v string) {
			switch k {
			case "type", "mimeType", "mime_type":
			default:
				c.strings(v)
			}
		})
	}
}

// minOpaque is the length from which a text of only base64's characters is taken for base64.
const minOpaque = 256

// opaque reports whether s is encoded data and not text.
func opaque(s string) bool {
	if len(s) < minOpaque {
		return false
	}
	for i := range len(s) {
		if !isBase64(s[i]) && s[i] != '\n' && s[i] != '\r' {
			return false
		}
		if s[i] == '\n' && i < 60 {
			return false // lines of words, not of an encoding
		}
	}
	return true
}

func isBase64(c byte) bool {
	return c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z' || c >= '0' && c <= '9' ||
		c == '+' || c == '/' || c == '=' || c == '-' || c == '_'
}

// stripData replaces each data: URL in s by a space.
func stripData(s string) string {
	const sign = ";base64,"
	if !strings.Contains(s, sign) {
		return s
	}
	var b strings.Builder
	for {
		i := strings.Index(s, sign)
		if i < 0 {
			break
		}
		end := i + len(sign)
		for end < len(s) && isBase64(s[end]) {
			end++
		}
		// The media type before it is short: "data:image/png".
		start := strings.LastIndex(s[max(0, i-128):i], "data:")
		if start < 0 {
			b.WriteString(s[:end])
		} else {
			b.WriteString(s[:max(0, i-128)+start])
			b.WriteByte(' ')
		}
		s = s[end:]
	}
	b.WriteString(s)
	return b.String()
}
