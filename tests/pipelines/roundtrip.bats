#!/usr/bin/env bats
# Random databases, there and back; `scripts/roundtrip` runs as many more as one likes.

bats_require_minimum_version 1.5.0

@test "f63 random databases come back as they were, by whatever way they went" {
    run -0 "$PROJECT/scripts/roundtrip" --seed 1 --count 5
    [ "$output" = "" ]
}

@test "roundtrip says how it is used" {
    run -64 "$PROJECT/scripts/roundtrip" --seed 1
    [[ $output == usage:* ]]
}
