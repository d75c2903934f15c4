// The task of the workers that are started by `graphile-worker`.
let told = false;

export default async () => {
  if (told) return;
  told = true;
  const at = Number(process.hrtime.bigint()) / 1e9;
  process.stdout.write(JSON.stringify({ event: "first", at }) + "\n");
};
