#!/bin/sh
# Makes sure that there is a Vulkan driver, then becomes the command:
#
#     sh scripts/with-adapter.sh COMMAND [ARG ...]
#
# Where no driver is, Mesa's software adapter (lavapipe) is installed with the system's package manager, so that
# the tests find an adapter on a machine without a GPU too. THINNET_NO_INSTALL=1 forbids that. The exit status is
# the command's; 2: no command was given; 3: there is no driver and none could be installed.
set -eu

say() {
    # Standard output belongs to the command.
    echo "with-adapter: $*" >&2
}

if [ $# -eq 0 ]; then
    echo "usage: sh scripts/with-adapter.sh COMMAND [ARG ...]" >&2
    exit 2
fi

# macOS has Metal and Windows DX12: nothing to install there.
if [ "$(uname -s)" != Linux ]; then
    exec "$@"
fi

# The loader, libvulkan.so.1. The folders come first since ldconfig is often absent from a user's PATH, and
# Alpine's has no cache to print. Other architectures' folders (i386) don't count.
has_loader() {
    machine=$(uname -m)
    for file in /usr/lib/"$machine"-linux-gnu*/libvulkan.so.1 /lib/"$machine"-linux-gnu*/libvulkan.so.1 \
        /usr/lib64/libvulkan.so.1 /lib64/libvulkan.so.1 /usr/lib/libvulkan.so.1 /lib/libvulkan.so.1 \
        /usr/local/lib64/libvulkan.so.1 /usr/local/lib/libvulkan.so.1; do
        if [ -e "$file" ]; then return 0; fi
    done
    old_ifs=$IFS
    IFS=:
    for folder in ${LD_LIBRARY_PATH-}; do
        if [ -e "$folder/libvulkan.so.1" ]; then IFS=$old_ifs; return 0; fi
    done
    IFS=$old_ifs
    for ldconfig in ldconfig /sbin/ldconfig /usr/sbin/ldconfig; do
        case $("$ldconfig" -p 2>/dev/null) in
            *libvulkan.so.1*) return 0 ;;
        esac
    done
    return 1
}

# A driver's manifest, where the loader looks for them.
has_driver() {
    old_ifs=$IFS
    IFS=:
    for file in ${VK_DRIVER_FILES-} ${VK_ICD_FILENAMES-}; do
        if [ -e "$file" ]; then IFS=$old_ifs; return 0; fi
    done
    IFS=$old_ifs
    for file in /usr/share/vulkan/icd.d/*.json /etc/vulkan/icd.d/*.json /usr/local/share/vulkan/icd.d/*.json \
        /run/opengl-driver/share/vulkan/icd.d/*.json \
        "${XDG_DATA_HOME:-${HOME-}/.local/share}"/vulkan/icd.d/*.json; do
        if [ -e "$file" ]; then return 0; fi
    done
    return 1
}

install_driver() {
    # One line for sh, to be run as root; without a single quote, since the advice below quotes it with them.
    if command -v apt-get >/dev/null 2>&1; then
        # An update that failed, say for one foreign source, need not hinder the install: that decides.
        recipe="apt-get update; DEBIAN_FRONTEND=noninteractive apt-get install -y --no-install-recommends \
mesa-vulkan-drivers libvulkan1"
    elif command -v dnf >/dev/null 2>&1; then
        recipe="dnf install -y mesa-vulkan-drivers vulkan-loader"
    elif command -v pacman >/dev/null 2>&1; then
        # Without -y: new package lists over an old system are a partial upgrade, which Arch does not support.
        recipe="pacman -S --needed --noconfirm vulkan-swrast vulkan-icd-loader"
    elif command -v zypper >/dev/null 2>&1; then
        recipe="zypper --non-interactive install --no-recommends libvulkan_lvp libvulkan1"
    elif command -v apk >/dev/null 2>&1; then
        recipe="apk add --no-cache mesa-vulkan-swrast vulkan-loader"
    else
        say "there is no Vulkan driver and no package manager known here;" \
            "install the Vulkan loader and Mesa's lavapipe, then run this again"
        exit 3
    fi

    if [ "$(id -u)" -eq 0 ]; then
        root='' advice=$recipe
    elif command -v sudo >/dev/null 2>&1; then
        root='sudo -n' advice="sudo sh -c '$recipe'"
    else
        root=none advice="su -c '$recipe'"
    fi

    if [ "${THINNET_NO_INSTALL:-0}" != 0 ]; then
        say "there is no Vulkan driver, and THINNET_NO_INSTALL forbids installing one; to install it, run:"
    elif [ "$root" = none ] || ! $root true >/dev/null 2>&1; then
        say "there is no Vulkan driver, and installing one needs root; run:"
    else
        say "there is no Vulkan driver here, which the command needs: installing Mesa's software adapter" \
            "(${recipe##*; })"
        # Its output is shown on failure only; its input is not the command's.
        if ! output=$($root sh -c "$recipe" 2>&1 </dev/null); then
            printf '%s\n' "$output" >&2
            say "the install failed; when its cause is mended, run:"
        elif ! has_loader || ! has_driver; then
            printf '%s\n' "$output" >&2
            say "the install went through, yet there is still no Vulkan driver; it was:"
        else
            return 0
        fi
    fi
    echo "    $advice" >&2
    exit 3
}

if ! has_loader || ! has_driver; then
    install_driver
fi

# Without this folder lavapipe complains of its lack at every start. One per user is kept; it stays empty.
if [ ! -d "${XDG_RUNTIME_DIR-}" ]; then
    XDG_RUNTIME_DIR="${TMPDIR:-/tmp}/thinnet-runtime-$(id -u)"
    mkdir -p -m 700 "$XDG_RUNTIME_DIR"
    export XDG_RUNTIME_DIR
fi
exec "$@"
