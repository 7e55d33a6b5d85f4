#!/usr/bin/perl
# clang-tidy with the checks of .clang-tidy, the analyzer among them, over every C file of src/ and the headers that they
# include: one case for each folder, with all findings. Takes some minutes, so only scripts/soak runs it.
#   TRIMTAB_TIDY_BUILD   build folder of clang, whose compile_commands.json is used, build/asan
#   TRIMTAB_TIDY_JOBS    files at the same time, 1
use strict;
use warnings;
use Cwd qw(abs_path);
use File::Basename qw(dirname);
use File::Temp qw(tempdir);

my $root = abs_path(dirname(abs_path($0)) . '/../..');
chdir $root or die "$root: $!";
my $build = $ENV{TRIMTAB_TIDY_BUILD} || 'build/asan';
my $jobs = $ENV{TRIMTAB_TIDY_JOBS} || 1;
my ($tidy) = grep { system("command -v $_ >/dev/null 2>&1") == 0 } qw(clang-tidy-14 clang-tidy);
my $scratch = tempdir(CLEANUP => 1);
my ($n, $bad) = (0, 0);
$| = 1;

sub ok { my ($good, $what, @why) = @_; $n++; $bad++ if !$good;
    print "# $_\n" for @why; print $good ? "ok" : "not ok", " $n - $what\n"; }

# What it says of a file, without its counts and the text that it underlines. A file that it cannot read is a finding too.
sub findings {
    my ($file, @args) = @_;
    open my $said, '-|', 'sh', '-c', 'exec "$@" 2>/dev/null', 'sh', $tidy, '-quiet', "--config-file=$root/.clang-tidy", $file, @args
        or die "$tidy: $!";
    my @lines = grep { /: (?:warning|error|note): / } <$said>;
    close $said;
    push @lines, "$file: $tidy ended with $?\n" if $? && !@lines;
    s{^\Q$root\E/}{} for @lines;
    chomp @lines;
    return @lines;
}

# Each file in a process of its own, its findings in a file of that process: $jobs at once.
sub all_findings {
    my @files = @_;
    my (%running, %of);
    while (@files || %running) {
        if (@files && keys %running < $jobs) {
            my $file = shift @files;
            (my $name = $file) =~ tr{/}{_};
            my $pid = fork // die "fork: $!";
            if (!$pid) {
                open my $out, '>', "$scratch/$name" or die "$name: $!";
                print $out "$_\n" for findings($file, '-p', $build);
                close $out or die "$name: $!";
                require POSIX;
                POSIX::_exit(0); # the folder is the parent's to remove
            }
            $running{$pid} = [$file, "$scratch/$name"];
            next;
        }
        my $r = delete $running{wait()} or next;
        my @lines = $? ? ("$r->[0]: the process ended with $?") : do { open my $in, '<', $r->[1] or die; <$in> };
        chomp @lines;
        $of{$r->[0]} = \@lines;
    }
    return \%of;
}

if (!$tidy || !-e "$build/compile_commands.json") {
    print "1..1\nnot ok 1 - ", $tidy ? "there is $build/compile_commands.json" : 'clang-tidy is installed', "\n";
    exit 1;
}

# A check that never failed is unproven.
open my $plant, '>', "$scratch/plant.c" or die;
print $plant "int plant(int x);\nint plant(int x)\n{\n    int *p = 0;\n\n    return x ? *p : 0;\n}\n";
close $plant;
ok((grep { /NullDereference/ } findings("$scratch/plant.c", '--', '-std=gnu17')) > 0, 'a planted null dereference is found');

my %folders;
for my $file (sort glob 'src/*/*.c') { push @{$folders{(split m{/}, $file)[1]}}, $file }
my $of = all_findings(map { @{$folders{$_}} } sort keys %folders);
my %told; # a header is read by many
for my $folder (sort keys %folders) {
    my @why = grep { !$told{$_}++ } map { @{$of->{$_}} } @{$folders{$folder}};
    splice @why, 200 if @why > 200;
    ok(!@why, "$folder: nothing is found in " . @{$folders{$folder}} . ' files and their headers', @why);
}
print "1..$n\n";
exit($bad ? 1 : 0);
