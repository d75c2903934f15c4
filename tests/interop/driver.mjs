// Calls Graphile Worker as an application would: node driver.mjs PACKAGE URL SCHEMA CALL [ARGUMENTS]
// `migrate` says "ready" and waits for a line, so that a test can start many at once. Every other
// call is a method of the worker's utilities; what it returns is the last line, as JSON.
import { once } from "node:events";

const [name, connectionString, schema, call, json = "[]"] = process.argv.slice(2);
const { makeWorkerUtils, runMigrations } = await import(name);

if (call === "migrate") {
  console.log("ready");
  await once(process.stdin, "data");
  await runMigrations({ connectionString, schema });
} else {
  const utils = await makeWorkerUtils({ connectionString, schema });
  const result = await utils[call](...JSON.parse(json));
  await utils.release();
  console.log(JSON.stringify(result ?? null));
}
process.exit(process.exitCode ?? 0);
