-- Schedules: what a tenant declares again and again, and the history of their firings.

CREATE TABLE schedules (
  tenant_id uuid NOT NULL REFERENCES tenants,
  id uuid NOT NULL,
  name text NOT NULL CHECK (length(name) BETWEEN 1 AND 100),
  type_name text NOT NULL,
  type_version integer,
  spec jsonb NOT NULL,
  labels jsonb NOT NULL DEFAULT '{}',
  priority smallint NOT NULL DEFAULT 0,
  cron text,
  every_s double precision CHECK (every_s >= 1),
  at timestamptz,
  timezone text NOT NULL DEFAULT 'UTC',
  start_at timestamptz,
  end_at timestamptz,
  jitter_s double precision NOT NULL DEFAULT 0,
  overlap text NOT NULL CHECK (overlap IN ('skip', 'queue', 'cancel_running', 'allow')),
  catch_up text NOT NULL CHECK (catch_up IN ('all', 'latest', 'none')),
  catch_up_window_s double precision NOT NULL,
  state text NOT NULL DEFAULT 'active' CHECK (state IN ('active', 'paused', 'ended')),
  pause_reason text,
  next_at timestamptz,
  due_at timestamptz,
  event_seq integer NOT NULL DEFAULT 0,
  version integer NOT NULL DEFAULT 1,
  created_by uuid,
  created_at timestamptz NOT NULL DEFAULT clock_timestamp(),
  updated_at timestamptz NOT NULL DEFAULT clock_timestamp(),
  PRIMARY KEY (tenant_id, id),
  UNIQUE (tenant_id, name),
  CHECK (num_nonnulls(cron, every_s, at) = 1),
  CHECK ((state = 'active') = (due_at IS NOT NULL) AND (due_at IS NULL) = (next_at IS NULL))
) WITH (fillfactor = 70);
CREATE INDEX schedules_due ON schedules (due_at) WHERE due_at IS NOT NULL;

-- A firing has one place in the timetable: whoever decides it, it is decided once.
CREATE TABLE schedule_firings (
  tenant_id uuid NOT NULL,
  schedule_id uuid NOT NULL,
  id uuid NOT NULL DEFAULT uuid_v7(),
  scheduled_at timestamptz NOT NULL,
  cause text NOT NULL CHECK (cause IN ('time', 'trigger', 'backfill')),
  outcome text NOT NULL CHECK (outcome IN ('started', 'skipped', 'queued', 'planned', 'failed')),
  reason text,
  intent_id uuid,
  run_id uuid,
  unfinished boolean NOT NULL DEFAULT false, -- the run had not ended when anybody looked last
  due_at timestamptz, -- of a planned one
  created_at timestamptz NOT NULL DEFAULT clock_timestamp(),
  PRIMARY KEY (tenant_id, schedule_id, id),
  UNIQUE (tenant_id, schedule_id, scheduled_at, cause),
  FOREIGN KEY (tenant_id, schedule_id) REFERENCES schedules ON DELETE CASCADE,
  CHECK ((outcome = 'started') = (run_id IS NOT NULL)),
  CHECK ((outcome = 'planned') = (due_at IS NOT NULL))
) WITH (fillfactor = 80);
CREATE INDEX schedule_firings_unfinished ON schedule_firings (tenant_id, schedule_id) WHERE unfinished;
CREATE INDEX schedule_firings_queued ON schedule_firings (tenant_id, schedule_id, scheduled_at)
  WHERE outcome || '' = 'queued';
CREATE INDEX schedule_firings_planned ON schedule_firings (due_at) WHERE outcome || '' = 'planned';
CREATE INDEX schedule_firings_planned_of ON schedule_firings (tenant_id) WHERE outcome || '' = 'planned'; -- counted

-- The schedules that somebody has to look at now, the longest overdue first: a firing is due, a planned one is, or a
-- queued one waits for runs that have all ended. The first two come by index; the third holds contention only. What a
-- suspended tenant misses is caught up with, or not, as each schedule's policy says, once the tenant is active again.
CREATE FUNCTION schedules_to_look_at(p_limit integer) RETURNS TABLE (tenant_id uuid, id uuid)
LANGUAGE sql STABLE AS $$
  SELECT d.tenant_id, d.id FROM (
    (SELECT s.tenant_id, s.id, s.due_at FROM schedules s WHERE s.due_at <= clock_timestamp()
       AND NOT EXISTS (SELECT 1 FROM holds h WHERE h.name = 'tenant/' || s.tenant_id)
     ORDER BY s.due_at LIMIT p_limit)
    UNION ALL
    (SELECT f.tenant_id, f.schedule_id, f.due_at FROM schedule_firings f
     WHERE f.outcome || '' = 'planned' AND f.due_at <= clock_timestamp()
       AND NOT EXISTS (SELECT 1 FROM holds h WHERE h.name = 'tenant/' || f.tenant_id) ORDER BY f.due_at LIMIT p_limit)
    UNION ALL
    (SELECT f.tenant_id, f.schedule_id, min(f.scheduled_at) FROM schedule_firings f
     WHERE f.outcome || '' = 'queued' AND NOT EXISTS (
       SELECT 1 FROM schedule_firings o JOIN runs r ON r.tenant_id = o.tenant_id AND r.id = o.run_id
       WHERE o.tenant_id = f.tenant_id AND o.schedule_id = f.schedule_id AND o.unfinished
         AND r.finished_at IS NULL)
     GROUP BY f.tenant_id, f.schedule_id LIMIT p_limit)
  ) d GROUP BY d.tenant_id, d.id ORDER BY min(d.due_at) LIMIT p_limit
$$;

-- What was decided about locked schedules: their firings with events, the firing that is next. A firing that stood
-- in the history already, because it was queued or planned, is brought up to date.
CREATE FUNCTION note_firings(p_tenant uuid, p_firings jsonb, p_schedules jsonb) RETURNS void LANGUAGE plpgsql AS $$
BEGIN
  UPDATE schedule_firings f SET unfinished = false
  FROM jsonb_to_recordset(p_schedules) AS s (id uuid), runs r
  WHERE f.tenant_id = p_tenant AND f.schedule_id = s.id AND f.unfinished
    AND r.tenant_id = p_tenant AND r.id = f.run_id AND r.finished_at IS NOT NULL;

  INSERT INTO schedule_firings (tenant_id, schedule_id, scheduled_at, cause, outcome, reason, intent_id, run_id,
                                unfinished)
  SELECT p_tenant, i.schedule_id, i.scheduled_at, i.cause, i.outcome, i.reason, i.intent_id, i.run_id,
         i.run_id IS NOT NULL
  FROM jsonb_to_recordset(p_firings) AS i (schedule_id uuid, scheduled_at timestamptz, cause text, outcome text,
       reason text, intent_id uuid, run_id uuid)
  ON CONFLICT (tenant_id, schedule_id, scheduled_at, cause) DO UPDATE SET outcome = excluded.outcome,
    reason = excluded.reason, intent_id = excluded.intent_id, run_id = excluded.run_id,
    unfinished = excluded.unfinished, due_at = NULL
  WHERE schedule_firings.outcome IN ('queued', 'planned');

  PERFORM emit_event(p_tenant, 'schedules/' || i.schedule_id, s.event_seq + i.place,
    CASE i.outcome WHEN 'started' THEN 'schedule.fired' ELSE 'schedule.skipped' END,
    jsonb_build_object('schedule_id', i.schedule_id, 'scheduled_at', i.scheduled_at, 'cause', i.cause,
      'outcome', i.outcome, 'reason', i.reason, 'intent_id', i.intent_id, 'run_id', i.run_id), NULL)
  FROM jsonb_to_recordset(p_firings) AS i (schedule_id uuid, scheduled_at timestamptz, cause text, outcome text,
       reason text, intent_id uuid, run_id uuid, place integer)
  JOIN schedules s ON s.tenant_id = p_tenant AND s.id = i.schedule_id;

  UPDATE schedules s SET event_seq = s.event_seq + n.events, next_at = n.next_at, due_at = n.due_at,
         state = CASE WHEN s.state = 'active' AND n.next_at IS NULL THEN 'ended' ELSE s.state END
  FROM jsonb_to_recordset(p_schedules) AS n (id uuid, events integer, next_at timestamptz, due_at timestamptz)
  WHERE s.tenant_id = p_tenant AND s.id = n.id;
END $$;
