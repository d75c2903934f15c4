// Graphile Worker, in the same protocol as protocol.py: an order as JSON, lines of JSON out.
import { createInterface } from "node:readline";
import { createRequire } from "node:module";
import { pathToFileURL } from "node:url";

const usual = { kind: "nothing", jobs: 0, concurrency: 24, settings: {}, queues: 0, rate: 0 };
const order = { ...usual, ...JSON.parse(process.argv[2]) };
// The package lies in the benchmark's cache, not beside this file.
const { Logger, makeWorkerUtils, run } = await import(
  pathToFileURL(createRequire(process.env.GRAPHILE_PACKAGE).resolve("graphile-worker"))
);

const CHUNK = 10_000;
const now = () => Number(process.hrtime.bigint()) / 1e9;
const say = (event, facts = {}) =>
  process.stdout.write(JSON.stringify({ event, at: now(), ...facts }) + "\n");
const lines = createInterface({ input: process.stdin })[Symbol.asyncIterator]();
const told = async () => (await lines.next()).value;
const silent = new Logger(() => () => {});

function quantiles(values) {
  const ordered = Float64Array.from(values).sort();
  const at = (q) => ordered[Math.min(ordered.length - 1, Math.floor(ordered.length * q))];
  return { p50_ms: at(0.5), p99_ms: at(0.99), p999_ms: at(0.999), max_ms: at(1) };
}

const connect = () => makeWorkerUtils({ connectionString: order.dsn, logger: silent });

async function addAll(utils) {
  for (let start = 0; start < order.jobs; start += CHUNK) {
    const specs = [];
    for (let n = start; n < Math.min(order.jobs, start + CHUNK); n++) {
      const queueName = order.queues ? `queue-${n % order.queues}` : undefined;
      specs.push({ identifier: "bench", payload: { n }, queueName });
    }
    await utils.addJobs(specs);
  }
}

let left = order.jobs;
let inOrder = true;
const latencies = [];
const last = new Map();
function count() {
  if (--left === 0) say("handled");
}

const handlers = {
  nothing: async () => count(),
  sleep: async () => {
    await new Promise((done) => setTimeout(done, 1));
    count();
  },
  latency: async ({ n, t }) => {
    if (n >= order.rate) latencies.push((Number(process.hrtime.bigint()) - t) / 1e6);
    count();
  },
  ordered: async ({ n }) => {
    const queue = n % Math.max(1, order.queues);
    if (n <= (last.get(queue) ?? -1)) inOrder = false;
    last.set(queue, n);
    count();
  },
  failing: async (payload, { job }) => {
    count();
    if (job.attempts === 1) throw new Error("the first attempt fails");
  },
};

const roles = {
  async migrate() {
    const utils = await connect();
    await utils.migrate();
    await utils.release();
    say("done");
  },
  async add_bulk() {
    const utils = await connect();
    say("ready");
    await told();
    const begun = now();
    await addAll(utils);
    say("done", { per_second: order.jobs / (now() - begun) });
    await utils.release();
  },
  async add_single() {
    const utils = await connect();
    for (let n = 0; n < 20; n++) await utils.addJob("bench", { n });
    say("ready");
    await told();
    const took = [];
    for (let n = 0; n < order.jobs; n++) {
      const begun = now();
      await utils.addJob("bench", { n });
      took.push((now() - begun) * 1e3);
    }
    const total = took.reduce((sum, each) => sum + each, 0) / 1e3;
    say("done", { per_second: took.length / total, ...quantiles(took) });
    await utils.release();
  },
  // Nothing waits for the slow: whether or not the jobs before are in, the next one is added.
  async produce() {
    const utils = await connect();
    say("ready");
    await told();
    const took = [];
    const adding = [];
    const add = async (n) => {
      const t = process.hrtime.bigint();
      await utils.addJob("bench", { n, t: Number(t) });
      took.push(Number(process.hrtime.bigint() - t) / 1e6);
    };
    const begun = now();
    for (let n = 0; n < order.jobs; n++) {
      const wait = begun + n / order.rate - now();
      if (wait > 0) await new Promise((done) => setTimeout(done, wait * 1e3));
      adding.push(add(n));
    }
    await Promise.all(adding);
    say("done", { rate: order.jobs / (now() - begun), ...quantiles(took) });
    await utils.release();
  },
  async work() {
    say("ready");
    await told();
    const runner = await run({
      taskList: { bench: handlers[order.kind] },
      preset: {
        worker: {
          connectionString: order.dsn,
          concurrentJobs: order.concurrency,
          maxPoolSize: 25,
          logger: silent,
          ...order.settings.worker,
        },
      },
      noHandleSignals: true,
    });
    say("started");
    await told();
    const found = latencies.length ? quantiles(latencies) : {};
    say("done", { in_order: inOrder, started: latencies.length, ...found });
    await runner.stop();
  },
};

await roles[order.role]();
process.exit(0);
