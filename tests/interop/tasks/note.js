// Writes down what it was given, and who ran it.
export default async (payload, helpers) => {
  await helpers.query("insert into notes (runner, payload, key) values ('node', $1, $2)", [
    JSON.stringify(payload),
    helpers.job.key,
  ]);
};
