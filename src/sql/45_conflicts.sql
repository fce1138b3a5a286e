-- Policies for conflicts.  Like the list of centers, their tables replicate by
-- themselves; src/state/policy.c reads them.

CREATE FUNCTION multicenter.internal_policy_changed() RETURNS trigger
AS 'MODULE_PATHNAME', 'mc_policy_changed' LANGUAGE C;
COMMENT ON FUNCTION multicenter.internal_policy_changed() IS
'Internal. Trigger function that makes every process read the policies again.';
REVOKE ALL ON FUNCTION multicenter.internal_policy_changed() FROM PUBLIC;

CREATE TRIGGER policy_changed AFTER INSERT OR UPDATE OR DELETE ON multicenter.conflict_policy
	FOR EACH ROW EXECUTE FUNCTION multicenter.internal_policy_changed();
ALTER TABLE multicenter.conflict_policy ENABLE ALWAYS TRIGGER policy_changed;
CREATE TRIGGER policy_changed AFTER INSERT OR UPDATE OR DELETE ON multicenter.policy_epoch
	FOR EACH ROW EXECUTE FUNCTION multicenter.internal_policy_changed();
ALTER TABLE multicenter.policy_epoch ENABLE ALWAYS TRIGGER policy_changed;
