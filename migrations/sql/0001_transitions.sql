-- Legal transitions, as app/domain/states.py has them (python -m checks.state_machine --sql).
-- The tables stand in WHEN clauses, so that a legal change costs no call of a function.

CREATE FUNCTION refuse_transition() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
  RAISE EXCEPTION 'illegal transition of %: % -> %', TG_TABLE_NAME,
    CASE TG_OP WHEN 'UPDATE' THEN to_jsonb(OLD) ->> TG_ARGV[0] END, to_jsonb(NEW) ->> TG_ARGV[0]
    USING ERRCODE = 'QP001';
END $$;

CREATE TRIGGER legal_birth BEFORE INSERT ON runs FOR EACH ROW
  WHEN (NEW.state <> ALL (ARRAY['awaiting_approval', 'queued']))
  EXECUTE FUNCTION refuse_transition('state');
CREATE TRIGGER legal_transition BEFORE UPDATE ON runs FOR EACH ROW
  WHEN (OLD.state IS DISTINCT FROM NEW.state AND (OLD.state || '>' || NEW.state) <> ALL (ARRAY[
    'awaiting_approval>queued', 'awaiting_approval>cancelled', 'awaiting_approval>superseded', 'queued>running',
    'queued>pausing', 'queued>paused', 'queued>cancelling', 'queued>cancelled',
    'queued>superseded', 'running>pausing', 'running>paused', 'running>cancelling',
    'running>compensating', 'running>succeeded', 'running>failed', 'running>cancelled',
    'pausing>paused', 'pausing>running', 'pausing>cancelling', 'pausing>succeeded',
    'pausing>failed', 'pausing>cancelled', 'paused>running', 'paused>queued',
    'paused>cancelling', 'paused>cancelled', 'paused>superseded', 'cancelling>compensating',
    'cancelling>cancelled', 'compensating>failed', 'compensating>cancelled', 'failed>running']))
  EXECUTE FUNCTION refuse_transition('state');

CREATE TRIGGER legal_birth BEFORE INSERT ON run_steps FOR EACH ROW
  WHEN (NEW.state <> ALL (ARRAY['pending', 'ready']))
  EXECUTE FUNCTION refuse_transition('state');
CREATE TRIGGER legal_transition BEFORE UPDATE ON run_steps FOR EACH ROW
  WHEN (OLD.state IS DISTINCT FROM NEW.state AND (OLD.state || '>' || NEW.state) <> ALL (ARRAY[
    'pending>ready', 'pending>skipped', 'pending>cancelled', 'ready>running',
    'ready>waiting', 'ready>succeeded', 'ready>failed', 'ready>skipped',
    'ready>cancelled', 'running>ready', 'running>waiting', 'running>succeeded',
    'running>failed', 'running>skipped', 'running>cancelled', 'waiting>ready',
    'waiting>succeeded', 'waiting>failed', 'waiting>cancelled', 'succeeded>compensating',
    'failed>ready', 'failed>waiting', 'cancelled>pending', 'cancelled>ready',
    'compensating>compensated', 'compensating>failed']))
  EXECUTE FUNCTION refuse_transition('state');

CREATE TRIGGER legal_birth BEFORE INSERT ON intents FOR EACH ROW
  WHEN (NEW.phase <> ALL (ARRAY['pending']))
  EXECUTE FUNCTION refuse_transition('phase');
CREATE TRIGGER legal_transition BEFORE UPDATE ON intents FOR EACH ROW
  WHEN (OLD.phase IS DISTINCT FROM NEW.phase AND (OLD.phase || '>' || NEW.phase) <> ALL (ARRAY[
    'pending>running', 'pending>succeeded', 'pending>failed', 'pending>cancelled',
    'running>pending', 'running>succeeded', 'running>failed', 'running>cancelled',
    'succeeded>pending', 'succeeded>running', 'failed>pending', 'failed>running',
    'cancelled>pending', 'cancelled>running']))
  EXECUTE FUNCTION refuse_transition('phase');
