"""`python -m cliplib` lists the commands."""

COMMANDS = """Commands of cliplib; each explains itself with --help:

  python -m cliplib.data      draws the picture book, or checks a data set
                              python -m cliplib.data picturebook
                              python -m cliplib.data shard picturebook --out SHARDS
  python -m cliplib.train     trains a model
                              python -m cliplib.train --profile quick
                              python -m cliplib.train --data MY-PICTURES
  python -m cliplib.own_report  makes a data set of your own pictures, and reports on it
                              python -m cliplib.own_report MY-PICTURES
  python -m cliplib.search    finds pictures by words, by a picture or by both
                              python -m cliplib.search "a red boat at night"
  python -m cliplib.film      trains and films the matrix becoming a diagonal
  python -m cliplib.doctor    looks at this computer and says how long training takes here
  python -m cliplib.bundle    writes the course for a room without internet, on a stick

In a notebook, `from cliplib import checks` and `checks.summary()` say which exercises you have
passed; `checks.reset()` forgets it.
"""

if __name__ == "__main__":
    print(COMMANDS, end="")
