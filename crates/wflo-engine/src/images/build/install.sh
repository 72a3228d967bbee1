# Runs in the sandbox of a build, on a machine with apt: fetches what is missing there, and unpacks it below $1.
# The rest are names of packages, which were judged before. What apt may do stands in $APT_CONFIG, and nowhere else.
# Nothing that was fetched is started: no script of a package, no trigger. What is known of it goes to descriptor 3,
# a line each: `unknown NAME`, `known NAME`, `version NAME VERSION`, `plan …`, `file NAME VERSION ARCHITECTURE SHA256`.
set -u
umask 022
UNKNOWN=94 REPLACES=95 UNRESOLVED=96 UNFETCHED=97 UNUSABLE=98
target=$1
shift
state=/tmp/apt
say() { printf '%s\n' "$*" >&3; }

mkdir -p "$state/lists/partial" "$state/cache/archives/partial" "$state/log" "$state/empty" "$target/usr" || exit 1
[ $# -eq 0 ] && exit 0

# What the machine knows of its sources is there to begin with; apt looks whether it is signed and the newest.
for list in /opt/wflo/apt/lists/*_InRelease /opt/wflo/apt/lists/*_Release /opt/wflo/apt/lists/*_Release.gpg \
    /opt/wflo/apt/lists/*_Packages /opt/wflo/apt/lists/*_Packages.*; do
    [ -f "$list" ] && ln -s "$list" "$state/lists/"
done
{ apt-get -q update 2>&1; echo $? >"$state/code"; } | tee "$state/update"
[ "$(cat "$state/code")" = 0 ] || exit $UNFETCHED
whole=yes
grep -qE '^Err:|[Ff]ailed to fetch|GPG error' "$state/update" && whole=no

apt-cache pkgnames >"$state/names"
missing=
for package in "$@"; do
    name=${package%%=*}
    if ! grep -qxF -e "$name" "$state/names"; then
        say "unknown $name"
        missing=yes
    fi
done
if [ -n "$missing" ]; then
    [ $whole = yes ] || exit $UNFETCHED
    sed 's/^/known /' "$state/names" >&3
    exit $UNKNOWN
fi

if ! apt-get -q -s --no-upgrade install "$@" >"$state/plan" 2>&1; then
    cat "$state/plan"
    absent=$(sed -n -e "s/^E[ror]*: Unable to locate package \(.*\)\$/\1/p" \
        -e "s/^E[ror]*: Package '\(.*\)' has no installation candidate\$/\1/p" "$state/plan" | head -n 1)
    other=$(sed -n "s/^E[ror]*: Version '.*' for '\(.*\)' was not found\$/\1/p" "$state/plan" | head -n 1)
    [ -n "$absent$other" ] || exit $UNRESOLVED
    say "unknown ${absent:-$other}"
    [ -n "$other" ] && apt-cache madison "$other" | while IFS=' |' read -r name version _; do
        say "version $name $version"
    done
    exit $UNKNOWN
fi
grep -E '^(Inst|Remv) ' "$state/plan" | sed 's/^/plan /' >&3
grep -qE '^(Remv |Inst [^ ]+ \[)' "$state/plan" && exit $REPLACES

apt-get -q --no-upgrade --download-only install "$@" 2>&1 || exit $UNFETCHED

# Where /bin is /usr/bin, what belongs into the one belongs into the other.
for name in bin sbin lib lib32 lib64 libx32; do
    [ -L "/$name" ] && mkdir -p "$target/usr/$name" && ln -s "usr/$name" "$target/$name"
done
for file in "$state"/cache/archives/*.deb; do
    [ -f "$file" ] || continue
    about=$(dpkg-deb -W --showformat='${Package} ${Version} ${Architecture}' "$file") || exit $UNUSABLE
    sum=$(sha256sum "$file") || exit $UNUSABLE
    say "file $about ${sum%% *}"
    { dpkg-deb --fsys-tarfile "$file" || echo "${about%% *}" >"$state/failed"; } |
        tar -x -f - -C "$target" --keep-directory-symlink --no-same-owner --no-same-permissions 2>&1 ||
        exit $UNUSABLE
    [ -e "$state/failed" ] && exit $UNUSABLE
    dpkg-deb --ctrl-tarfile "$file" | tar -x -O -f - ./postinst 2>/dev/null >>"$state/scripts"
    rm -f "$file"
done

# Scripts are read, not run: of the alternatives that they would install, in plain words or for each of some, the
# links that lead to something here. A line becomes `PRIORITY LINK PATH`; of two for one link the higher one counts.
set -f
each=
sed -e ':a' -e '/\\$/{N;s/\\\n/ /;ta' -e '}' "$state/scripts" 2>/dev/null |
    while read -r line; do
        case $line in
        for\ *\ in\ *)
            each=${line#for } words=${line#* in }
            each=${each%% *} words=${words%%;*}
            case $each in '' | *[!A-Za-z_]*) each= ;; esac
            case $words in *[!A-Za-z0-9._+\ -]*) each= ;; esac
            ;;
        done*) each= ;;
        *update-alternatives\ *--install\ *)
            if [ -z "$each" ]; then
                printf '%s\n' "$line"
                continue
            fi
            for word in $words; do
                printf '%s\n' "$line" | sed -e "s/\${$each}/$word/g" -e "s/\$$each\([^A-Za-z0-9_]\|\$\)/$word\1/g"
            done
            ;;
        esac
    done |
    while read -r line; do
        set -- $line
        priority= links=
        while [ $# -gt 0 ]; do
            case $1 in
            --install) [ $# -ge 5 ] && links="$2 $4" priority=$5 && shift 4 ;;
            --slave) [ $# -ge 4 ] && links="$links
$2 $4" && shift 3 ;;
            esac
            shift
        done
        case $priority in '' | *[!0-9]*) continue ;; esac
        printf '%s\n' "$links" | sed "s/^/$priority /"
    done | sort -s -k1,1nr | while read -r _ link path; do
        case $link$path in *[!A-Za-z0-9/._+-]* | *../*) continue ;; esac
        case $link in /usr/* | /bin/* | /sbin/* | /lib*/* | /etc/*) ;; *) continue ;; esac
        case $path in /usr/* | /bin/* | /sbin/* | /lib*/* | /etc/*) ;; *) continue ;; esac
        { [ -L "$target$path" ] || [ -e "$target$path" ] || [ -e "$path" ]; } || continue
        { [ -L "$target$link" ] || [ -e "$target$link" ] || [ -e "$link" ]; } && continue
        mkdir -p "$target${link%/*}" && ln -s "$path" "$target$link"
    done

for name in bin sbin lib lib32 lib64 libx32; do
    [ -L "$target/$name" ] && rm -f "$target/$name"
    rmdir "$target/usr/$name" 2>/dev/null
done
# What is shown there is wflo's own.
rm -rf "$target/opt/wflo"

# The machine's own programs read some files for no other reason than that they are there, and are found before or
# after others of their name: what would act in them is left out.
set +f
cd "$target" || exit 1
drop() {
    say "dropped $1"
    rm -rf "./$1"
}
for path in etc/ld.so* etc/profile* etc/bash* etc/zsh* etc/environment* etc/gitconfig etc/python* etc/perl etc/ssl etc/pki \
    etc/crypto-policies etc/npmrc etc/pip.conf etc/wgetrc etc/curlrc etc/ssh etc/nsswitch* etc/security etc/pam* \
    etc/sudo* etc/apt etc/dpkg etc/gemrc etc/inputrc usr/local usr/lib/ssl usr/share/git-core usr/lib/python*.zip \
    usr/lib/glibc-hwcaps usr/lib/*/glibc-hwcaps usr/lib/*/gconv lib/glibc-hwcaps lib/*/glibc-hwcaps; do
    { [ -e "$path" ] || [ -L "$path" ]; } && drop "$path"
done
for path in usr/lib/python[23].*; do
    # A module there may stand before one of the machine's.
    [ -d "/$path" ] && { [ -e "$path" ] || [ -L "$path" ]; } && drop "$path"
done
find . \( -name '*.pth' -o -name 'sitecustomize*' -o -name 'usercustomize*' \) ! -type d | while read -r path; do
    drop "${path#./}"
done
for path in usr/sbin/* usr/sbin/.[!.]* usr/bin/* usr/bin/.[!.]* sbin/* bin/*; do
    { [ -e "$path" ] || [ -L "$path" ]; } || continue
    for folder in /usr/local/sbin /usr/local/bin /usr/sbin /usr/bin /sbin /bin; do
        if [ -e "$folder/${path##*/}" ] || [ -L "$folder/${path##*/}" ]; then
            drop "$path"
            break
        fi
    done
done
exit 0
