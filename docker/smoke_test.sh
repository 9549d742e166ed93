#!/bin/sh
# Is an image whole? Runs every command in it, on the small data set of the tests, as on a strict
# cluster: no network, a read-only image, no capabilities, a user that the image does not know.
#
#   docker/smoke_test.sh [ENGINE [IMAGE]]     default: docker pumba_pipe; podman does too
set -eu

engine=${1:-docker} image=${2:-pumba_pipe}
root=$(cd "$(dirname "$0")/.." && pwd)
out=$(mktemp -d)
trap 'rm -rf "$out"' EXIT
mkdir "$out/masks" "$out/work" "$out/others"
chmod 777 "$out" "$out"/*

run() {
    "$engine" run --rm -i --network none --read-only --tmpfs /tmp --cap-drop ALL -u 12345:12345 \
        -v "$root/tests/data:/data:ro" -v "$out:/out" "$@"
}

echo "smoke_test.sh: the BIDS app in $image"
run "$image" --version
run "$image" /data/bids /out/masks participant --participant-label ms12 -w /out/work
run "$image" /data/bids /out/masks group

echo "smoke_test.sh: the other commands in $image"
run --entrypoint sh "$image" -eu << 'INSIDE'
cd /out/others
for command in /opt/venv/bin/pumba*; do
    "$command" --help > /dev/null
    "$command" --version
done
head=/data/bids/sub-ixi012/anat/sub-ixi012_T1w.nii.gz
pumba-strip -i $head -m mask.nii.gz -q quality.json
pumba-synthstrip -i $head -m synthstrip.nii.gz
pumba-synth heads -n 2 --size 48 --quiet
pumba-evaluate /data/references --bids /data/bids --predictions /out/masks --out scores --quiet
pumba-weights info > weights.txt
pumba-weights export bundle --format monai
if python -c 'import lightning' 2> /dev/null; then
    # Two steps of tiny networks: the weights are useless, but they are weights.
    pumba-train run --steps 2 --batch 1 --widths 4 8 --coarse-size 16 --fine-size 16 \
        --cache-size 2 --no-calibration --quiet
    pumba-strip -i $head -m trained.nii.gz --weights run/weights.safetensors || [ $? = 1 ]
elif pumba-train run --steps 2 2> train.txt; then
    echo 'pumba-train ran without lightning' >&2
    exit 1
else
    grep -i lightning train.txt    # one line that says what is missing
fi

# The masks agree with those drawn by hand, and what was made is there.
python - << 'PYTHON'
import csv, pathlib
with open('scores/scores.tsv', newline='') as file:
    dice = {row['case']: float(row['dice']) for row in csv.DictReader(file, delimiter='\t')}
print('Dice with the reference masks:', dice)
assert len(dice) == 2 and min(dice.values()) > 0.9, dice
for name in ('mask.nii.gz', 'quality.json', 'synthstrip.nii.gz', 'weights.txt',
             'heads/participants.tsv', 'bundle/models/model.ts', '../masks/sub-ms12.html',
             '../masks/dataset_description.json'):
    assert pathlib.Path(name).stat().st_size, name
PYTHON
INSIDE
echo "smoke_test.sh: every command in $image works"
