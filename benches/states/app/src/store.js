import pg from "pg";

const TABLE = `
  create table if not exists links (
    slug text primary key,
    target text not null,
    hits bigint not null default 0,
    created timestamptz not null default now()
  )`;

/** Opens the database, or a store in memory where none is configured. */
export async function openStore(config) {
  if (!config.databaseUrl) {
    return new MemoryStore();
  }
  const pool = new pg.Pool({ connectionString: config.databaseUrl });
  await pool.query(TABLE);
  return new PostgresStore(pool);
}

class PostgresStore {
  constructor(pool) {
    this.pool = pool;
  }

  async insert(slug, target) {
    const text = "insert into links (slug, target) values ($1, $2) on conflict do nothing";
    const { rowCount } = await this.pool.query(text, [slug, target]);
    return rowCount === 1;
  }

  async find(slug) {
    const { rows } = await this.pool.query("select * from links where slug = $1", [slug]);
    return rows[0];
  }

  async hit(slug) {
    await this.pool.query("update links set hits = hits + 1 where slug = $1", [slug]);
  }

  async list(limit) {
    const text = "select * from links order by created desc limit $1";
    return (await this.pool.query(text, [limit])).rows;
  }

  async ready() {
    await this.pool.query("select 1");
  }

  async close() {
    await this.pool.end();
  }
}

export class MemoryStore {
  links = new Map();

  async insert(slug, target) {
    if (this.links.has(slug)) {
      return false;
    }
    this.links.set(slug, { slug, target, hits: 0, created: new Date() });
    return true;
  }

  async find(slug) {
    return this.links.get(slug);
  }

  async hit(slug) {
    this.links.get(slug).hits += 1;
  }

  async list(limit) {
    return [...this.links.values()].reverse().slice(0, limit);
  }

  async ready() {}

  async close() {}
}
