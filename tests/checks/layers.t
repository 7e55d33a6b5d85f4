#!/usr/bin/perl
# Holds the layers: a folder includes only what its line in src/CMakeLists.txt says it uses, that is only folders above
# it, no two include each other, and the pure ones call nothing that reads the world.
# Needs the build folder of the dev profile as BUILD (default build/dev) for the symbols.
# Build: dev/trimtab_model dev/trimtab_feed dev/trimtab_sync
use strict;
use warnings;
use File::Find;
use FindBin;
chdir "$FindBin::Bin/../.." or die;
my $build = $ENV{BUILD} || 'build/dev';

my @order = qw(base codec rule model proto net store presence feed sync
               server agent sdk sidecar cli nginx console);
my %rank;
$rank{$order[$_]} = $_ for 0 .. $#order;

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
for my $file (sort @sources) {
    my ($folder) = $file =~ m{^src/(\w+)/};
    open my $f, '<', $file or die;
    while (<$f>) { push @{$includes{$folder}{$1}}, "$file:$." if m{^\s*#\s*include\s+"(\w+)/} && $1 ne $folder && -d "src/$1"; }
}
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
for my $pure (qw(model rule presence feed sync)) {
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
print "1..$n\n";
exit($bad ? 1 : 0);
