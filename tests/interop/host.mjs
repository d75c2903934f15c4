// A process that runs pools of Graphile Worker, and calls its utilities, on demand. It reads one
// JSON command a line, {id, call, …}, and answers with one JSON line, {id, result} or {id, error};
// events of its pools are lines as well, {event, pool, …}. It ends when its input ends.
import { EventEmitter } from "node:events";
import { createInterface } from "node:readline";

const EVENTS = ["job:start", "job:success", "job:error", "job:failed", "pool:release"];
const SILENT = { error: 1, warning: 1 };
const packages = new Map();
const pools = new Map();
const gates = new Map();

const say = (line) => process.stdout.write(JSON.stringify(line) + "\n");

function gate(name) {
  if (!gates.has(name)) {
    let open;
    gates.set(name, { opened: new Promise((done) => (open = done)), open });
  }
  return gates.get(name);
}

// The same task as work_task.py; what a payload means stands there.
async function work(payload, helpers) {
  const { id, attempts, locked_by } = helpers.job;
  const { rows } = await helpers.query(
    "insert into runs (side, process, pool, job_id, attempts, payload) " +
      "values ('node', $1, $2, $3, $4, $5) returning id",
    [process.env.PROCESS_NAME ?? "", locked_by, id, attempts, JSON.stringify(payload)],
  );
  if (payload?.lock) await helpers.query("select pg_advisory_xact_lock($1)", [payload.lock]);
  if (payload?.hold) await gate(payload.hold).opened;
  if (payload?.queue) {
    await helpers.query("update runs set ended = clock_timestamp() where id = $1", [rows[0].id]);
  }
  if (payload?.fail_once && attempts === 1) throw new Error("the first time fails");
  if (payload?.fail) throw new Error(payload.fail);
  if (payload && "thrown" in payload) throw payload.thrown;
}

function logger(name, { Logger }) {
  return new Logger(() => (level, message) => {
    if (SILENT[level]) say({ event: "log", pool: name, level, message });
  });
}

const calls = {
  async start({ package: name, url, schema, pool, tasks = ["work"], options = {}, batched }) {
    const npm = await loaded(name);
    const events = new EventEmitter();
    let poolId;
    events.on("pool:create", ({ workerPool }) => (poolId = workerPool.id));
    for (const event of EVENTS) {
      events.on(event, ({ job, error }) =>
        say({ event, pool, job: job?.id, error: error?.message }),
      );
    }
    const listening = new Promise((done) => events.once("pool:listen:success", done));
    const runner = await npm.run({
      connectionString: url, schema, events, logger: logger(pool, npm), noHandleSignals: true,
      taskList: Object.fromEntries(tasks.map((task) => [task, work])), ...options,
      ...(batched ? { preset: { worker: { completeJobBatchDelay: 0, failJobBatchDelay: 0 } } } : {}),
    });
    pools.set(pool, runner);
    runner.promise.then(() => say({ event: "ended", pool }));
    await listening;
    return poolId;
  },
  async stop({ pool }) {
    await pools.get(pool).stop();
  },
  async open({ gate: name }) {
    gate(name).open();
  },
  async forget() {
    for (const { open } of gates.values()) open();
    gates.clear();
  },
  async utils({ package: name, url, schema, method, args }) {
    const { makeWorkerUtils } = await loaded(name);
    const utils = await makeWorkerUtils({ connectionString: url, schema });
    try {
      return (await utils[method](...args.map(revived))) ?? null;
    } finally {
      await utils.release();
    }
  },
  async quickAddJob({ package: name, url, schema, args }) {
    const { quickAddJob } = await loaded(name);
    return await quickAddJob({ connectionString: url, schema }, ...args.map(revived));
  },
};

async function loaded(name) {
  if (!packages.has(name)) packages.set(name, await import(name));
  return packages.get(name);
}

function revived(value) {
  if (Array.isArray(value)) return value.map(revived);
  if (!value || typeof value !== "object") return value;
  return "runAt" in value ? { ...value, runAt: new Date(value.runAt) } : value;
}

async function answer({ id, call, ...given }) {
  try {
    say({ id, result: (await calls[call](given)) ?? null });
  } catch (error) {
    say({ id, error: error.message, code: error.code ?? null, constraint: error.constraint ?? null });
  }
}

createInterface({ input: process.stdin })
  .on("line", (line) => answer(JSON.parse(line)))
  .on("close", () => process.exit(process.exitCode ?? 0));
say({ event: "ready" });
