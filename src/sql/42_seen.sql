-- The trigger that tells which versions a write replaces; see src/target/seen.h.

CREATE FUNCTION multicenter.seen() RETURNS trigger
LANGUAGE c AS 'MODULE_PATHNAME', 'mc_seen';
COMMENT ON FUNCTION multicenter.seen() IS
'Trigger function: tells the other centers which versions of a row a write replaces. conflict_policy_set() creates the trigger where a policy needs it, BEFORE INSERT OR UPDATE OR DELETE, FOR EACH ROW. Errors: 39P01 it is used otherwise.';
REVOKE ALL ON FUNCTION multicenter.seen() FROM PUBLIC;
