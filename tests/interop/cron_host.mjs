// A process that runs Graphile Worker's scheduler by a clock whose hands the test moves, and answers
// questions about its crontabs. Commands and answers are lines of JSON, as those of host.mjs. Time
// stands still between two moves; timers of a second and more wait for the hands.
import { EventEmitter } from "node:events";
import { createInterface } from "node:readline";

const RealDate = Date;
const { setTimeout: realSetTimeout, clearTimeout: realClearTimeout } = globalThis;
const runners = new Map();
const waiting = new Set();
let hands = RealDate.now();

globalThis.Date = class extends RealDate {
  constructor(...given) {
    super(...(given.length ? given : [hands]));
  }
  static now() {
    return hands;
  }
};

globalThis.setTimeout = (call, delay, ...given) => {
  if (!(delay >= 1000)) return realSetTimeout(call, delay, ...given);
  const timer = { due: hands + delay, ring: () => call(...given), ref, unref: ref, refresh: ref };
  function ref() {
    return timer;
  }
  waiting.add(timer);
  return timer;
};

globalThis.clearTimeout = (timer) => {
  if (!waiting.delete(timer)) realClearTimeout(timer);
};

const npm = await import("graphile-worker");
const say = (line) => process.stdout.write(JSON.stringify(line) + "\n");
const silent = new npm.Logger(() => (level, message) => {
  if (level === "error" || level === "warning") say({ event: "log", level, message });
});

const digest = (moment) => ({
  min: moment.getUTCMinutes(),
  hour: moment.getUTCHours(),
  date: moment.getUTCDate(),
  month: moment.getUTCMonth() + 1,
  dow: moment.getUTCDay(),
});

const calls = {
  // The moments, in minutes since 1970, at which times fire: from, step and count in minutes.
  fires({ times, from, step, count }) {
    const [{ match }] = npm.parseCronItems([{ task: "t", match: times }]);
    const found = [];
    for (let minute = from; count-- > 0; minute += step) {
      if (match(digest(new RealDate(minute * 60_000)))) found.push(minute);
    }
    return found;
  },
  // What each crontab says, or null for one that is refused.
  parse({ crontabs }) {
    return crontabs.map((crontab) => {
      try {
        return npm.parseCrontab(crontab).map((item) => ({ ...item, ...item.match.parsedCronMatch }));
      } catch {
        return null;
      }
    });
  },
  async start({ url, runner: name, crontab }) {
    const events = new EventEmitter();
    for (const event of ["cron:started", "cron:backfill", "cron:schedule", "cron:scheduled"]) {
      events.on(event, ({ timestamp }) => say({ event, runner: name, timestamp }));
    }
    const started = new Promise((done) => events.once("cron:started", done));
    const runner = await npm.run({
      connectionString: url, crontab, events, logger: silent, noHandleSignals: true,
      taskList: { nothing() {} }, maxPoolSize: 3,
    });
    runners.set(name, runner);
    await started;
  },
  async stop({ runner: name }) {
    await runners.get(name).stop();
    runners.delete(name);
  },
  move({ to }) {
    hands = to;
    for (const timer of [...waiting].filter(({ due }) => due <= to)) {
      waiting.delete(timer);
      timer.ring();
    }
  },
};

async function answer({ id, call, ...given }) {
  try {
    say({ id, result: (await calls[call](given)) ?? null });
  } catch (error) {
    say({ id, error: error.message, code: null, constraint: null });
  }
}

createInterface({ input: process.stdin })
  .on("line", (line) => answer(JSON.parse(line)))
  .on("close", () => process.exit(process.exitCode ?? 0));
say({ event: "ready" });
