package migration

// Reason names why a row was changed, remarked on or rejected. Reasons are stable: programs may
// compare them.
type Reason string

// Reasons for a change to a value.
const (
	// ReasonNULStripped: NUL bytes were taken out of a text.
	ReasonNULStripped Reason = "nul_stripped"
	// ReasonInvalidUTF8: each run of invalid UTF-8 in a text became one U+FFFD.
	ReasonInvalidUTF8 Reason = "invalid_utf8"
	// ReasonBlobText: a BLOB stood where a text belongs; its bytes were read as text.
	ReasonBlobText Reason = "blob_as_text"
	// ReasonNumberText: a number stood where a text belongs.
	ReasonNumberText Reason = "number_as_text"
	// ReasonNullText: NULL stood where a text belongs and became the empty text.
	ReasonNullText Reason = "null_as_empty"
	// ReasonTimestampISO: a date written out became milliseconds.
	ReasonTimestampISO Reason = "timestamp_iso"
	// ReasonTimestampSeconds: seconds became milliseconds.
	ReasonTimestampSeconds Reason = "timestamp_seconds"
	// ReasonTimestampReal: a time with a fraction became whole milliseconds.
	ReasonTimestampReal Reason = "timestamp_real"
	// ReasonTimestampText: a time written as the text of a number was read as the number.
	ReasonTimestampText Reason = "timestamp_text"
	// ReasonTimestampReplaced: an unusable time was replaced by the nearest time known.
	ReasonTimestampReplaced Reason = "timestamp_replaced"
	// ReasonNumberCoerced: a text or a fraction was read as an integer.
	ReasonNumberCoerced Reason = "number_coerced"
	// ReasonNumberReplaced: something that is no number became the column's default.
	ReasonNumberReplaced Reason = "number_replaced"
	// ReasonFlagCoerced: something other than 0 and 1 was read as a flag.
	ReasonFlagCoerced Reason = "flag_coerced"
	// ReasonStatusReplaced: a missing or unknown status became the default one.
	ReasonStatusReplaced Reason = "status_replaced"
	// ReasonRoleCoerced: a role was recognised in another spelling.
	ReasonRoleCoerced Reason = "role_coerced"
	// ReasonPendingAsError: an interrupted answer was marked as an error, as asked for.
	ReasonPendingAsError Reason = "pending_as_error"
	// ReasonOrderRenumbered: order_seq was ambiguous in the conversation and was given anew.
	ReasonOrderRenumbered Reason = "order_renumbered"
	// ReasonTokenCount: token_count was taken from metadata.totalTokens.
	ReasonTokenCount Reason = "token_count_from_metadata"
	// ReasonJSONNUL: the escape \u0000 was dropped from JSON.
	ReasonJSONNUL Reason = "json_nul_dropped"
	// ReasonJSONSurrogate: half of a surrogate pair in JSON became U+FFFD.
	ReasonJSONSurrogate Reason = "json_surrogate_replaced"
	// ReasonJSONReplaced: JSON that is not a storable object is kept as text under _legacy_raw.
	ReasonJSONReplaced Reason = "json_not_an_object"
	// ReasonJSONDuplicateKeys: of duplicate keys the last one counts; the original is kept under
	// _legacy_raw.
	ReasonJSONDuplicateKeys Reason = "json_duplicate_keys"
	// ReasonSettingUnreadable: a setting was not of its type; it is kept under settings._legacy.
	ReasonSettingUnreadable Reason = "setting_unreadable"
	// ReasonVariantSelection: chosen variants that no longer exist were left out.
	ReasonVariantSelection Reason = "variant_selection_dropped"
	// ReasonIDDerived: a row without an id was given one derived from its origin.
	ReasonIDDerived Reason = "id_derived"
	// ReasonAttachmentMetadata: columns that attachments no longer have were kept in the data,
	// under _legacy.
	ReasonAttachmentMetadata Reason = "attachment_metadata_kept"
	// ReasonFileIDTaken: another knowledge base holds the file's id, so that it was given a derived
	// one; its chunks and vectors follow it.
	ReasonFileIDTaken Reason = "file_id_taken"
	// ReasonResumable: a file or chunk that was being processed waits to be resumed.
	ReasonResumable Reason = "processing_paused"
	// ReasonChunkPending: a chunk without a usable vector waits to be embedded again.
	ReasonChunkPending Reason = "chunk_to_embed_again"
	// ReasonChunkProcessed: a chunk that has its vector counts as processed, as it could be found
	// before.
	ReasonChunkProcessed Reason = "chunk_has_vector"
	// ReasonReplaced: the target held a row of the same id with other content, which this one took the
	// place of, as asked for.
	ReasonReplaced Reason = "replaced"
	// ReasonVectorFile: a vector named another file than its chunk does; the chunk's counts.
	ReasonVectorFile Reason = "vector_file_corrected"
)

// Reasons for a remark: the row is stored as it was.
const (
	// ReasonDanglingParent: the parent of a message does not exist; its id is kept.
	ReasonDanglingParent Reason = "dangling_parent"
	// ReasonRecovered: the conversation of a message is gone; another was made for it, as asked for.
	ReasonRecovered Reason = "recovered"
)

// Reasons for a rejection.
const (
	// ReasonConflict: the target holds a row of the same id with other content, which stays.
	ReasonConflict Reason = "conflict"
	// ReasonOrphan: the conversation of a message, or the message of an attachment, is gone.
	ReasonOrphan Reason = "orphan"
	// ReasonRole: a message has none of the four roles.
	ReasonRole Reason = "unknown_role"
	// ReasonNoPlace: the database has no table for the row.
	ReasonNoPlace Reason = "no_place"
	// ReasonRefused: the target database refused the row.
	ReasonRefused Reason = "refused"
	// ReasonFileGone: the file of a chunk or vector is gone.
	ReasonFileGone Reason = "file_gone"
	// ReasonChunkGone: the chunk of a vector is gone.
	ReasonChunkGone Reason = "chunk_gone"
	// ReasonSecondVector: the chunk has another vector already, which is kept.
	ReasonSecondVector Reason = "second_vector"
	// ReasonVectorNull: a vector is NULL or has NULL elements.
	ReasonVectorNull Reason = "vector_null"
	// ReasonVectorNotFinite: a vector holds NaN or an infinity.
	ReasonVectorNotFinite Reason = "vector_not_finite"
	// ReasonVectorZero: a vector is all zeros.
	ReasonVectorZero Reason = "vector_zero"
	// ReasonVectorIntegral: a vector was cut to integers.
	ReasonVectorIntegral Reason = "vector_integral"
	// ReasonVectorLength: a vector's length is not the base's number of dimensions.
	ReasonVectorLength Reason = "vector_length"
)

// remark reports whether r leaves the row as it was.
func (r Reason) remark() bool { return r == ReasonDanglingParent || r == ReasonRecovered }
