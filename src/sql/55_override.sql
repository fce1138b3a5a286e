-- What people do about conflicts: decide one anew, or say that it was seen.

-- With the rights of the caller, who sees conflicts of his tables only, and
-- writes to them by an ordinary statement.
CREATE FUNCTION multicenter.conflict_override(conflict_id bigint, choose text, new_row jsonb DEFAULT NULL)
RETURNS bigint
AS 'MODULE_PATHNAME', 'mc_sql_conflict_override' LANGUAGE C VOLATILE;
COMMENT ON FUNCTION multicenter.conflict_override(bigint, text, jsonb) IS
'Decide a conflict anew: write one of its rows, or another one, as an ordinary change that is replicated. conflict_id: from the view conflicts. choose: ''local'' or ''remote''; where that row was deleted, it is. new_row: written instead of either; choose may be null then. Runs with the rights of the caller on the table. Returns the number of the new row of the history. Errors: P0002 there is no such conflict; 42P01 the table is gone; 55000 the row is not in the history, or is displaced; 0A000 the conflict is about a unique index, or the table has no key; 22023 choose or new_row is wrong; 42501 and others of an ordinary statement.';

CREATE FUNCTION multicenter.conflict_review(conflict_id bigint, reviewed boolean DEFAULT true)
RETURNS void
LANGUAGE plpgsql VOLATILE STRICT SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
BEGIN
	UPDATE multicenter.conflict_history h SET reviewed_at = CASE WHEN reviewed THEN coalesce(h.reviewed_at, clock_timestamp()) END
	WHERE h.conflict_id = conflict_review.conflict_id;
	IF NOT FOUND THEN
		RAISE EXCEPTION 'there is no conflict %', conflict_id USING ERRCODE = 'no_data_found',
			HINT = 'It may be older than multicenter.conflict_retention. See the view multicenter.conflicts.';
	END IF;
END $$;
COMMENT ON FUNCTION multicenter.conflict_review(bigint, boolean) IS
'Say that a conflict needs no more attention, or (reviewed: false) that it does again. conflict_id: from the view conflicts. Errors: P0002 there is no such conflict.';
REVOKE ALL ON FUNCTION multicenter.conflict_review(bigint, boolean) FROM PUBLIC;
GRANT EXECUTE ON FUNCTION multicenter.conflict_review(bigint, boolean) TO multicenter_conflicts;
