-- Own step 1: a job remembers the trace it was added in.
-- The defaults read settings, so that whatever inserts a job takes the context over: this package,
-- Graphile Worker's functions, a trigger of the application. The columns come first and the
-- defaults after them: in one step, every job there is would get the context of this very session
-- and the table would be rewritten. A setting that was once set locally reads '' ever after.

alter table {schema}._private_jobs add column traceparent text, add column tracestate text;

alter table {schema}._private_jobs
    alter column traceparent set default nullif(current_setting('kongtask.traceparent', true), ''),
    alter column tracestate set default nullif(current_setting('kongtask.tracestate', true), '');

-- A job that is replaced by its key belongs to the trace that replaced it. Replacing is the only
-- statement that sets task_id: unsafe_dedupe, which leaves the job as it is, does not, nor does
-- anything a worker does. A trigger outlives a later version of add_jobs by Graphile Worker.
create function {schema}._kongtask_take_context()
returns trigger
language plpgsql
as $kongtask$
begin
    new.traceparent := nullif(current_setting('kongtask.traceparent', true), '');
    new.tracestate := nullif(current_setting('kongtask.tracestate', true), '');
    return new;
end;
$kongtask$;

create trigger _kongtask_take_context
before update of task_id on {schema}._private_jobs
for each row execute function {schema}._kongtask_take_context();
