"""Reading files of examples: text, tables, JSON, tagged words and SQuAD's questions, with errors that say where."""

from minitransformer.data.questions import answers_of, narrow
from minitransformer.data.readers import FORMATS, read_records
from minitransformer.data.records import Record, as_records

__all__ = ["FORMATS", "Record", "answers_of", "as_records", "narrow", "read_records"]
