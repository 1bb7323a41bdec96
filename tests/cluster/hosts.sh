#!/bin/sh
# Simulated hosts NAME... on one machine; run as the first process of new pid, network, mount and UTS namespaces:
#   unshare --pid --fork --kill-child --mount-proc --net --mount --uts sh hosts.sh FOLDER NAME...
# Every host has a name, a network of its own with one link to a common bridge, and its own /dev/shm and /tmp/local.
# This process is called `control` and holds the bridge. When it ends, the kernel ends all that runs on the hosts.
set -eu
folder=$1
shift
hostname control
mount --make-rprivate /
printf '127.0.0.1 localhost\n10.77.0.1 control\n' >"$folder/hosts"
number=10
for name; do
    number=$((number + 1))
    echo "10.77.0.$number $name" >>"$folder/hosts"
done
# Names come from this file alone: there is no name server, and every question to one would wait for ten seconds.
sed 's/^hosts:.*/hosts: files/' /etc/nsswitch.conf >"$folder/nsswitch.conf"
mount --bind "$folder/nsswitch.conf" /etc/nsswitch.conf
mount --bind "$folder/hosts" /etc/hosts
ip link set lo up
ip link add bridge0 type bridge
ip addr add 10.77.0.1/24 dev bridge0
ip link set bridge0 up
number=10
for name; do
    number=$((number + 1))
    mkfifo "$folder/$name.ready"
    # shellcheck disable=SC2016
    unshare --net --mount --uts sh -c 'hostname "$1"; mount -t tmpfs -o size=4g tmpfs /dev/shm
        echo >"$2"; exec sleep infinity' sh "$name" "$folder/$name.ready" &
    pid=$!
    read -r _ <"$folder/$name.ready"
    ip link add "to-$name" type veth peer name eth0 netns "$pid"
    ip link set "to-$name" master bridge0 up
    nsenter --target "$pid" --net sh -c "ip addr add 10.77.0.$number/24 dev eth0; ip link set eth0 up; ip link set lo up
        ip route add default via 10.77.0.1"
    echo "$name $pid" >>"$folder/pids.new"
done
mv "$folder/pids.new" "$folder/pids"
trap '' CHLD # inherited by sleep: orphans that end here are removed by the kernel
exec sleep infinity
