#!/usr/bin/perl
# Holds the layers: a folder includes only what its line in src/CMakeLists.txt says it uses, that is only folders above
# it, no two include each other, no files of one need each other in a circle, and the pure ones call nothing that reads the
# world. The rooms of the server stand in an order of their own.
# Needs the build folder of the dev profile as BUILD (default build/dev) for the symbols.
# Build: dev/trimtab_template dev/trimtab_model dev/trimtab_feed dev/trimtab_sync dev/trimtab_shm dev/trimtab_server dev/trimtab_agent dev/trimtab_cli
use strict;
use warnings;
use File::Find;
use FindBin;
chdir "$FindBin::Bin/../.." or die;
my $build = $ENV{BUILD} || 'build/dev';

my @order = qw(base codec rule template model proto net store presence feed sync shm
               server agent sdk sidecar cli nginx console);
my %rank;
$rank{$order[$_]} = $_ for 0 .. $#order;

# Rooms of src/server, from the ground up; what lies in none of them stands above all.
my @rooms = qw(hub rollout use lane edge);
my %room_rank = ('' => scalar @rooms);
$room_rank{$rooms[$_]} = $_ for 0 .. $#rooms;

# Circles that are still there: each of these sets of files may need itself, and nothing more.
my %known_circles = (
    net => [[qw(channel channel_dial channel_peer rpc)],
            [qw(exchange http1_conn http2_conn http_conn http_server respond)]],
    store => [[qw(mem mem_lease snapshot sqlite sqlite_items sqlite_log store watch)]],
);

my (%uses, $n, $bad);
open my $cm, '<', 'src/CMakeLists.txt' or die;
while (<$cm>) {
    next unless /^trimtab_module\((\w+)(.*?)\)?\s*$/;
    my ($name, $rest) = ($1, $2);
    my ($list) = $rest =~ /USES ([^A-Z)]*)/;
    $uses{$name} = {map { $_ => 1 } split ' ', $list // ''};
}
sub ok { my ($good, $what, @why) = @_; $n++; $bad++ if !$good;
    print "# $_\n" for @why; print $good ? "ok" : "not ok", " $n - $what\n"; }

my %includes;
my @sources;
find({no_chdir => 1, wanted => sub { push @sources, $_ if m{^src/\w+/.*\.(c|h|cc)$} }}, 'src');
my @wrong_rooms;
for my $file (sort @sources) {
    my ($folder) = $file =~ m{^src/(\w+)/};
    open my $f, '<', $file or die;
    my $room = $file =~ m{^src/server/(\w+)/} ? $1 : '';
    while (<$f>) {
        push @{$includes{$folder}{$1}}, "$file:$." if m{^\s*#\s*include\s+"(\w+)/} && $1 ne $folder && -d "src/$1";
        next unless $folder eq 'server' && m{^\s*#\s*include\s+"server/(?:(\w+)/)?\w+\.h"};
        my $other = $1 // '';
        push @wrong_rooms, "$file:$.: " . ($room || 'the server itself') . " may not use " . ($other || 'the server itself')
            if ($room_rank{$other} // 99) > ($room_rank{$room} // -1);
    }
}
ok(!@wrong_rooms, 'a room of the server includes only rooms below it', @wrong_rooms);
for my $folder (sort keys %includes) {
    my @why;
    for my $other (sort keys %{$includes{$folder}}) {
        my $where = $includes{$folder}{$other}[0];
        push @why, "$where: $folder may not use $other: its line in src/CMakeLists.txt does not say so"
            if $other ne 'base' && !$uses{$folder}{$other};
        push @why, "$where: $other stands below $folder" if ($rank{$other} // -1) >= ($rank{$folder} // 99);
        push @why, "$where: $folder and $other include each other" if $includes{$other}{$folder};
    }
    ok(!@why, "$folder includes only folders above it that it declares", @why);
}

# What a pure folder must not call: of the C library, of the system, and of what base has to read the world.
my $forbidden = qr/^(clock_now|clock_wall_ms|random_bytes|file_\w+|log_\w+|read|write|send|sendmsg|recv|open|open64|openat|close|socket|connect|time|clock_gettime|
    gettimeofday|rand|random|getrandom|pthread_create|fopen|fopen64|fwrite|sqlite3_\w+|uv_\w+|SSL_\w+)$/x;
for my $pure (qw(model rule template presence feed sync)) {
    my $lib = "$build/src/libtrimtab_$pure.a";
    next if !-d "src/$pure";
    if (!-e $lib) { $n++; print "ok $n - $pure is pure # SKIP $lib is not built\n"; next; }
    my @why;
    for my $line (split /\n/, `nm -A --undefined-only $lib 2>/dev/null`) {
        next if $line =~ /:(link|copy)\.c\.o:/; # the two parts of sync that do I/O, behind interfaces
        my ($object, $symbol) = $line =~ /:([\w.]+):.*\sU\s(\S+)$/ or next;
        $symbol =~ s/@.*//;
        push @why, "$pure/$object calls $symbol" if $symbol =~ $forbidden;
    }
    ok(!@why, "$pure reads no clock, no chance, no file and no socket", @why);
}
# ---- circles of files, by what they call: an include may be there for a type only ----

# file -> file that defines what it needs -> the symbol
sub needs {
    my ($lib) = @_;
    my (%defined, %wanted, %needs);
    for my $line (split /\n/, `nm -A $lib 2>/dev/null`) {
        my ($object, $type, $symbol) = $line =~ /:([^:]+)\.o:\S*\s+([A-Za-z])\s+(\S+)$/ or next;
        $object =~ s/\.cc?$//;
        $defined{$symbol} = $object if $type =~ /[TDBRV]/;
        $wanted{$object}{$symbol} = 1 if $type eq 'U';
    }
    for my $object (keys %wanted) {
        for my $symbol (keys %{$wanted{$object}}) {
            my $other = $defined{$symbol};
            $needs{$object}{$other} = $symbol if $other && $other ne $object;
        }
    }
    return \%needs;
}

# All that a file needs, over others.
sub reach {
    my ($needs, $from) = @_;
    my (%seen, @todo);
    @todo = keys %{$needs->{$from} // {}};
    while (defined(my $at = shift @todo)) {
        next if $seen{$at}++;
        push @todo, keys %{$needs->{$at} // {}};
    }
    return \%seen;
}

for my $folder (@order) {
    my $lib = "$build/src/libtrimtab_$folder.a";
    next if !-d "src/$folder";
    if (!-e $lib) { $n++; print "ok $n - $folder has no circle # SKIP $lib is not built\n"; next; }
    my $needs = needs($lib);
    my %reach = map { $_ => reach($needs, $_) } keys %$needs;
    my @why;
    for my $file (sort keys %$needs) {
        for my $other (sort keys %{$needs->{$file}}) {
            next unless $reach{$other}{$file};
            next if grep { my %in = map { $_ => 1 } @$_; $in{$file} && $in{$other} } @{$known_circles{$folder} // []};
            push @why, "$folder/$file needs $needs->{$file}{$other} of $other, which needs $file";
        }
    }
    ok(!@why, "the files of $folder need each other in no new circle", @why);
}
print "1..$n\n";
exit($bad ? 1 : 0);
