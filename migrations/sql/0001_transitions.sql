-- Legal transitions, as app/domain/states.py has them (python -m checks.state_machine --sql).
-- The tables stand in functions: a long WHEN clause would be parsed anew by every statement.

CREATE FUNCTION runs_transition() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
  IF TG_OP = 'UPDATE' AND OLD.state || '>' || NEW.state IN (
    'awaiting_approval>queued', 'awaiting_approval>failed', 'awaiting_approval>cancelled', 'awaiting_approval>superseded',
    'queued>running', 'queued>pausing', 'queued>paused', 'queued>cancelling',
    'queued>failed', 'queued>cancelled', 'queued>superseded', 'running>pausing',
    'running>paused', 'running>cancelling', 'running>compensating', 'running>succeeded',
    'running>failed', 'running>cancelled', 'pausing>paused', 'pausing>running',
    'pausing>cancelling', 'pausing>compensating', 'pausing>succeeded', 'pausing>failed',
    'pausing>cancelled', 'paused>running', 'paused>queued', 'paused>cancelling',
    'paused>compensating', 'paused>succeeded', 'paused>failed', 'paused>cancelled',
    'paused>superseded', 'cancelling>compensating', 'cancelling>failed', 'cancelling>cancelled',
    'compensating>failed', 'compensating>cancelled', 'succeeded>compensating', 'failed>running',
    'failed>compensating', 'cancelled>compensating') THEN
    RETURN NEW;
  END IF;
  RAISE EXCEPTION 'illegal transition of %: % -> %', TG_TABLE_NAME,
    CASE TG_OP WHEN 'UPDATE' THEN OLD.state END, NEW.state USING ERRCODE = 'QP001';
END $$;
CREATE TRIGGER legal_birth BEFORE INSERT ON runs FOR EACH ROW
  WHEN (NEW.state <> 'awaiting_approval' AND NEW.state <> 'queued') EXECUTE FUNCTION runs_transition();
CREATE TRIGGER legal_transition BEFORE UPDATE ON runs FOR EACH ROW
  WHEN (OLD.state <> NEW.state) EXECUTE FUNCTION runs_transition();

CREATE FUNCTION run_steps_transition() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
  IF TG_OP = 'UPDATE' AND OLD.state || '>' || NEW.state IN (
    'pending>ready', 'pending>running', 'pending>skipped', 'pending>cancelled',
    'ready>running', 'ready>waiting', 'ready>succeeded', 'ready>failed',
    'ready>skipped', 'ready>cancelled', 'running>ready', 'running>waiting',
    'running>succeeded', 'running>failed', 'running>skipped', 'running>cancelled',
    'waiting>ready', 'waiting>succeeded', 'waiting>failed', 'waiting>skipped',
    'waiting>cancelled', 'succeeded>pending', 'succeeded>ready', 'succeeded>waiting',
    'succeeded>cancelled', 'succeeded>compensating', 'failed>pending', 'failed>ready',
    'failed>waiting', 'failed>cancelled', 'skipped>pending', 'skipped>ready',
    'skipped>waiting', 'skipped>cancelled', 'cancelled>pending', 'cancelled>ready',
    'cancelled>waiting', 'compensating>compensated', 'compensating>succeeded', 'compensated>pending',
    'compensated>ready', 'compensated>waiting', 'compensated>cancelled') THEN
    RETURN NEW;
  END IF;
  RAISE EXCEPTION 'illegal transition of %: % -> %', TG_TABLE_NAME,
    CASE TG_OP WHEN 'UPDATE' THEN OLD.state END, NEW.state USING ERRCODE = 'QP001';
END $$;
CREATE TRIGGER legal_birth BEFORE INSERT ON run_steps FOR EACH ROW
  WHEN (NEW.state <> 'pending' AND NEW.state <> 'ready') EXECUTE FUNCTION run_steps_transition();
CREATE TRIGGER legal_transition BEFORE UPDATE ON run_steps FOR EACH ROW
  WHEN (OLD.state <> NEW.state) EXECUTE FUNCTION run_steps_transition();

CREATE FUNCTION intents_transition() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
  IF TG_OP = 'UPDATE' AND OLD.phase || '>' || NEW.phase IN (
    'pending>running', 'pending>succeeded', 'pending>failed', 'pending>cancelled',
    'running>pending', 'running>succeeded', 'running>failed', 'running>cancelled',
    'succeeded>pending', 'succeeded>running', 'failed>pending', 'failed>running',
    'cancelled>pending', 'cancelled>running') THEN
    RETURN NEW;
  END IF;
  RAISE EXCEPTION 'illegal transition of %: % -> %', TG_TABLE_NAME,
    CASE TG_OP WHEN 'UPDATE' THEN OLD.phase END, NEW.phase USING ERRCODE = 'QP001';
END $$;
CREATE TRIGGER legal_birth BEFORE INSERT ON intents FOR EACH ROW
  WHEN (NEW.phase <> 'pending') EXECUTE FUNCTION intents_transition();
CREATE TRIGGER legal_transition BEFORE UPDATE ON intents FOR EACH ROW
  WHEN (OLD.phase <> NEW.phase) EXECUTE FUNCTION intents_transition();

CREATE FUNCTION bulk_actions_transition() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
  IF TG_OP = 'UPDATE' AND OLD.state || '>' || NEW.state IN (
    'running>paused', 'running>cancelled', 'running>finished', 'paused>running',
    'paused>cancelled') THEN
    RETURN NEW;
  END IF;
  RAISE EXCEPTION 'illegal transition of %: % -> %', TG_TABLE_NAME,
    CASE TG_OP WHEN 'UPDATE' THEN OLD.state END, NEW.state USING ERRCODE = 'QP001';
END $$;
CREATE TRIGGER legal_birth BEFORE INSERT ON bulk_actions FOR EACH ROW
  WHEN (NEW.state <> 'running') EXECUTE FUNCTION bulk_actions_transition();
CREATE TRIGGER legal_transition BEFORE UPDATE ON bulk_actions FOR EACH ROW
  WHEN (OLD.state <> NEW.state) EXECUTE FUNCTION bulk_actions_transition();
