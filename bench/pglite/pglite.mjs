// PGlite's side of the comparison of similarity queries. It reads commands from standard input and
// writes answers to standard output, one JSON object a line.
import { closeSync, openSync, readFileSync, readSync } from 'node:fs'
import { createInterface } from 'node:readline'
import { PGlite } from '@electric-sql/pglite'
import { vector } from '@electric-sql/pglite-pgvector'

let db, dir, dims, queries, k
let statement

const open = async () => {
  db = await PGlite.create({ dataDir: dir, extensions: { vector } })
}

// The rows of a binary COPY: the number of fields, and for each its length and its bytes, big-endian.
const rowsOf = (raw, count, first) => {
  const record = 2 + 4 + 4 + 4 + 4 + 4 * dims
  const out = Buffer.alloc(19 + count * record + 2)
  out.write('PGCOPY\n\xff\r\n\0', 0, 'latin1')
  let at = 19
  for (let i = 0; i < count; i++) {
    at = out.writeInt16BE(2, at)
    at = out.writeInt32BE(4, at)
    at = out.writeInt32BE(first + i, at)
    at = out.writeInt32BE(4 + 4 * dims, at)
    at = out.writeInt16BE(dims, at)
    at = out.writeInt16BE(0, at)
    for (let d = 0; d < dims; d++) at = out.writeFloatBE(raw.readFloatLE(4 * (i * dims + d)), at)
  }
  out.writeInt16BE(-1, at)
  return out
}

const commands = {
  // load fills a new database with vectors of a file of little-endian float32.
  async load(c) {
    ;({ dir, dims, k } = c)
    await open()
    await db.exec(`CREATE EXTENSION vector; CREATE TABLE items (id int PRIMARY KEY, embedding vector(${dims}))`)
    const file = openSync(c.data, 'r')
    const batch = 1000
    for (let first = 0; first < c.rows; first += batch) {
      const count = Math.min(batch, c.rows - first)
      const raw = Buffer.alloc(4 * count * dims)
      readSync(file, raw, 0, raw.length, 4 * first * dims)
      await db.query("COPY items FROM '/dev/blob' (FORMAT binary)", [], { blob: new Blob([rowsOf(raw, count, first)]) })
    }
    closeSync(file)
    const raw = readFileSync(c.queries_file)
    queries = []
    for (let at = 0; at < raw.length; at += 4 * dims) {
      const v = []
      for (let d = 0; d < dims; d++) v.push(raw.readFloatLE(at + 4 * d))
      queries.push(`[${v.join(',')}]`)
    }
    return {}
  },
  // index builds it with pgvector's own defaults.
  async index() {
    await db.exec("SET maintenance_work_mem = '1GB'; CREATE INDEX ON items USING hnsw (embedding vector_cosine_ops); ANALYZE items")
    return { version: (await db.query("SELECT extversion FROM pg_extension WHERE extname = 'vector'")).rows[0].extversion }
  },
  // effort sets how many candidates a query keeps, and reports whether it then goes by the index.
  async effort(c) {
    statement = `SELECT id FROM items ORDER BY embedding <=> $1 LIMIT ${k}`
    await db.exec(`SET hnsw.ef_search = ${c.ef}; SET enable_seqscan = off`)
    const plan = await db.query(`EXPLAIN ${statement}`, [queries[0]])
    return { indexed: plan.rows.some((r) => r['QUERY PLAN'].includes('Index Scan')) }
  },
  async run(c) {
    const ids = []
    const ms = []
    for (const q of c.queries) {
      const start = performance.now()
      const { rows } = await db.query(statement, [queries[q]])
      ms.push(performance.now() - start)
      ids.push(rows.map((r) => r.id))
    }
    return { ids, ms }
  },
  async reopen(c) {
    await db.close()
    await open()
    return commands.effort(c)
  },
}

for await (const line of createInterface({ input: process.stdin })) {
  const command = JSON.parse(line)
  let answer
  try {
    answer = await commands[command.do](command)
  } catch (e) {
    answer = { error: String(e) }
  }
  process.stdout.write(JSON.stringify(answer) + '\n')
}
